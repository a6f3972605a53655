"""Makes the pictures of the board in docs/images: on a wide screen in the light, on a phone in the dark.

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

SHOTS = [("board-light", 1400, "light"), ("board-phone-dark", 360, "dark")]


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
            for name, width, scheme in SHOTS:
                driver.get(address.partition("?")[0])
                time.sleep(1.5)
                file = IMAGES / f"{name}.webp"
                shoot(driver, width, scheme, "header", "main").save(file, quality=80)
                print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
                if file.stat().st_size > LARGEST:
                    raise SystemExit(f"{file} is larger than {LARGEST / 1000:.0f} kB")
        finally:
            driver.quit()
            board.terminate()
            board.wait()


if __name__ == "__main__":
    sys.exit(main())
