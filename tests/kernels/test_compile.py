"""The Triton kernels are built for real GPUs, which needs none: every one, as its launcher calls it.

In processes of their own: elsewhere Triton may have been imported to interpret.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        *((75, "float32"), (75, "float16"), (80, "bfloat16"), (80, "float32"), (80, "float16")),
        *((89, "bfloat16"), (89, "float32"), (90, "bfloat16"), (100, "bfloat16")),
        *((120, "bfloat16"), (120, "float32")),
    ],
)
def test_kernels_build_for_a_gpu(capability: int, dtype: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "build_kernels.py"), str(capability), dtype],
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
