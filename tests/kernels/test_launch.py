"""Which form of a fused function runs where."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paceline.kernels import launch


def _calls(
    monkeypatch: pytest.MonkeyPatch,
    *,
    cuda: bool,
    compiler: bool = True,
    new: bool = True,
    cc: str = "",
    headers: bool = True,
) -> Any:
    """Calls a fused function with a tensor that says that it is on a GPU, or not."""
    launch._missing.cache_clear()
    launch._kernels.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0) if new else (6, 1))
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    monkeypatch.setattr("shutil.which", lambda name: name if compiler and name == "gcc" else None)
    monkeypatch.setenv("CC", cc)
    monkeypatch.setattr("pathlib.Path.is_file", lambda path: headers)
    monkeypatch.setattr(
        launch, "import_module", lambda name: SimpleNamespace(double=lambda x: f"{name} {x.n}")
    )

    @launch.fused("some")
    def double(x: Any) -> str:
        return f"plain {x.n}"

    found = double(SimpleNamespace(is_cuda=cuda, n=3))
    launch._missing.cache_clear()
    launch._kernels.cache_clear()
    return found


def test_a_gpu_gets_the_kernel_and_a_cpu_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _calls(monkeypatch, cuda=True) == "paceline.kernels.triton.some 3"
    assert _calls(monkeypatch, cuda=False) == "plain 3"


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"compiler": False}, "Triton needs a C compiler, and there is no gcc or clang"),
        ({"cc": "icc"}, "Triton needs a C compiler, and there is no icc"),
        ({"headers": False}, "Triton needs the headers of Python; install python3-dev"),
        ({"new": False}, "compute capability 7.5"),
    ],
)
def test_where_kernels_cannot_be_built_that_is_said(
    monkeypatch: pytest.MonkeyPatch, machine: dict[str, Any], said: str
) -> None:
    with pytest.warns(UserWarning, match=said):
        assert _calls(monkeypatch, cuda=True, **machine) == "plain 3"
