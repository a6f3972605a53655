"""Makes the pictures of the board in docs/images: two pages on a wide screen and a phone, light and dark.

python scripts/make_board_images.py runs/demo
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from make_report_images import IMAGES, LARGEST, browser, shoot
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

WIDTHS = {"": 1400, "-phone": 360}
SHOTS = [(f"{width}-{scheme}", WIDTHS[width], scheme) for width in WIDTHS for scheme in ("light", "dark")]
PROMPT = "Ada has 4 apples and finds 3 more. How many apples does she have?"


def shoot_all(driver: WebDriver, page: str) -> None:
    for name, width, scheme in SHOTS:
        file = IMAGES / f"{page}{name}.webp"
        shoot(driver, width, scheme, "header", "main").save(file, quality=80)
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
        if file.stat().st_size > LARGEST:
            raise SystemExit(f"{file} is larger than {LARGEST / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    study = parser.parse_args().study
    command = [sys.executable, "-m", "paceline", "board", str(study), "--port", "0"]
    board = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert board.stdout
    with tempfile.TemporaryDirectory() as scratch:
        driver = browser(scratch)
        try:
            address = re.sub(r"\s", "", board.stdout.readline())
            driver.get(address)
            root = address.partition("?")[0]
            driver.get(root)
            time.sleep(1.5)
            shoot_all(driver, "board")
            driver.get(f"{root}playground")
            driver.find_element("name", "prompt").send_keys(PROMPT)
            driver.find_element("css selector", "#ask button").click()
            WebDriverWait(driver, 300).until(lambda one: one.find_elements("name", "choice"))
            shoot_all(driver, "board-playground")
        finally:
            driver.quit()
            board.terminate()
            board.wait()


if __name__ == "__main__":
    sys.exit(main())
