"""The CUDA path on a device that is not there; `checks` hold what must be true of it.

In a process of its own: torch must be told of the device before it is imported.
"""

import os
import runpy
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


def test_make_gpu_says_that_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(HERE.parents[1] / "benchmarks" / "gpu.py"), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "no CUDA device on this machine: the benchmark needs one\n"
