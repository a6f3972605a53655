"""Makes the pictures of a report in docs/images: on a wide screen and on a phone, light and dark.

    python scripts/make_report_images.py runs/demo

The study is read only; Chromium and its driver draw the page. Pictures are WebP, under 300 kB each.
"""

import argparse
import base64
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from paceline.api.inspection import write_report

IMAGES = Path(__file__).parents[1] / "docs" / "images"
# Name, width in pixels, colour scheme, and from which element to which the picture goes.
SHOTS = [
    ("report-light", 1400, "light", "h1", "nav"),
    ("report-dark", 1400, "dark", "h1", "nav"),
    ("report-curves", 1400, "light", "#curves", "#curves ~ figure"),
    ("report-phone-light", 360, "light", "h1", "nav"),
    ("report-phone-dark", 360, "dark", "h1", "nav"),
]
LARGEST = 300_000


def browser(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options, Service("/usr/bin/chromedriver"))


def shoot(driver: webdriver.Chrome, width: int, scheme: str, first: str, last: str) -> Image.Image:
    """The page from the top of one element to the bottom of another."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    driver.execute_script("if (typeof charts !== 'undefined') charts.forEach((chart) => draw(chart))")
    time.sleep(0.5)
    top, bottom = driver.execute_script(
        "return [document.querySelector(arguments[0]).getBoundingClientRect().top + scrollY,"
        " document.querySelector(arguments[1]).getBoundingClientRect().bottom + scrollY]",
        first,
        last,
    )
    clip = {"x": 0, "y": top - 12, "width": width, "height": bottom - top + 24, "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"])))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    args = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        driver = browser(scratch)
        try:
            driver.get(write_report(args.study, Path(scratch)).html.as_uri())
            for name, *where in SHOTS:
                file = IMAGES / f"{name}.webp"
                shoot(driver, *where).save(file, quality=80)
                size = file.stat().st_size
                print(f"{file}: {size / 1000:.0f} kB")
                if size > LARGEST:
                    raise SystemExit(f"{file} is larger than {LARGEST / 1000:.0f} kB")
        finally:
            driver.quit()


if __name__ == "__main__":
    sys.exit(main())
