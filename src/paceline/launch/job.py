"""What runs inside a job: fetch the study, train it where it stopped, report, and give everything back, now and then and at the end."""

import subprocess
import sys
import threading
from pathlib import Path

from paceline.config.load import load_study
from paceline.errors import PacelineError
from paceline.export.push import pull, upload

# Seconds between two uploads: what a job that is cut off loses at most.
EVERY = 300.0


def main(repository: str, folder: Path = Path("paceline-job"), every: float = EVERY) -> int:
    """Trains the repository's study; gives the exit status of `paceline study run`."""
    pull(repository, folder, print)
    study = load_study(folder / "study.yaml")
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(every):
            try:
                upload(folder, repository, "so far", False, print)
            except PacelineError as error:  # the next one may come through
                print(error, flush=True)

    keeper = threading.Thread(target=keep)
    keeper.start()
    command = [sys.executable, "-m", "paceline"]
    status = subprocess.run(
        [*command, "study", "run", str(folder / "study.yaml"), "--runs", str(folder / "runs")], check=False
    ).returncode
    if status == 0:
        subprocess.run([*command, "report", str(folder / "runs" / study.name)], check=False)
    ended.set()
    keeper.join()
    upload(folder, repository, "done" if status == 0 else f"ended with status {status}", False, print)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
