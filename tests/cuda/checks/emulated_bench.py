"""The correctness part of `make gpu`, which then has only the kernels' own numbers left to show."""

import sys
from pathlib import Path

import emulation
import pytest
import torch
from emulation import Card


def test_the_checks_of_make_gpu_hold(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "benchmarks")
    import gpu_checks

    make = gpu_checks.make_model

    def make_model(shape: str, device: torch.device, dtype: torch.dtype) -> object:
        model = make(shape, torch.device("cpu"), dtype)
        return model if device.type == "cpu" else emulation.to_device(model)

    monkeypatch.setattr(gpu_checks, "make_model", make_model)
    monkeypatch.setattr(gpu_checks, "SHAPES", {"small": gpu_checks.SMALL | {"num_hidden_layers": 2}})
    found = gpu_checks.check(torch.device("cuda"), 40)
    sys.modules.pop("gpu_checks")
    assert {name: one for name, one in found.items() if not one["ok"]} == {}
