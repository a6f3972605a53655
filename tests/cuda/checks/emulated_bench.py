"""The correctness part of `make gpu`, which then has only the kernels' own numbers left to show."""

import emulation
import pytest
import torch
from emulation import Card

from paceline.bench import checks


def test_the_checks_of_make_gpu_hold(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    make = checks.make_model

    def make_model(shape: str, device: torch.device, dtype: torch.dtype) -> object:
        model = make(shape, torch.device("cpu"), dtype)
        return model if device.type == "cpu" else emulation.to_device(model)

    monkeypatch.setattr(checks, "make_model", make_model)
    monkeypatch.setattr(checks, "SHAPES", {"small": checks.SMALL | {"num_hidden_layers": 2}})
    found = checks.check(torch.device("cuda"), 40)
    assert {name: one for name, one in found.items() if not one["ok"]} == {}
