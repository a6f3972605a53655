"""The Triton kernels under Triton's interpreter, in processes that are told so before they import it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

INTERPRETED = sorted((Path(__file__).parent / "interpreted").glob("interpreted_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", INTERPRETED, ids=lambda path: path.stem)
def test_kernels_compute_what_they_say(path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)],
        env=environment | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
