"""The CUDA path on a device that is not there; `checks` hold what must be true of it.

In a process of its own: torch must be told of the device before it is imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_the_cuda_path_runs_on_an_emulated_device() -> None:
    checks = sorted(str(path) for path in (HERE / "checks").glob("emulated_*.py"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, str(HERE / "emulation.py"), "-p", "no:cacheprovider", "-p", "no:xdist", *checks],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
