"""The CUDA path on a device that is not there; `checks` hold what must be true of it.

In a process of its own: torch must be told of the device before it is imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from paceline.cli.main import app
from paceline.errors import ConfigError

HERE = Path(__file__).parent


@pytest.mark.slow
def test_the_cuda_path_runs_on_an_emulated_device() -> None:
    checks = sorted(str(path) for path in (HERE / "checks").glob("emulated_*.py"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable,
            str(HERE / "emulation.py"),
            "-p",
            "no:cacheprovider",
            *checks,
        ],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


def test_bench_says_that_there_is_no_gpu(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "--out", str(tmp_path / "results")])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == "no CUDA device on this machine: the benchmark needs one"
    assert not list(tmp_path.iterdir())
