"""The Triton kernels are built for real GPUs, which needs none: every one, as its launcher calls it.

In processes of their own: elsewhere Triton may have been imported to interpret.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("capability", [75, 80, 89, 90, 120])
def test_kernels_build_for_a_gpu(capability: int) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "build_kernels.py"), str(capability)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    built = {line.split()[0] for line in done.stdout.splitlines()}
    assert built == {
        *("keep_kernel", "down_kernel", "up_kernel", "low_gradient_kernel", "a_gradient_kernel"),
        *("b_gradient_kernel", "add_kernel", "input_gradient_kernel", "rotate_kernel", "swiglu_kernel"),
        *("gradients_kernel", "cross_entropy_kernel"),
    }
