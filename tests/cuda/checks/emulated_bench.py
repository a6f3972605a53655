"""The parts of `make gpu` that are Paceline's own: only the kernels' own numbers are then left to show."""

from pathlib import Path

import emulation
import pytest
import torch
from emulation import Card

from paceline.bench import arms, checks


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make = checks.make_model

    def make_model(shape: str, device: torch.device, dtype: torch.dtype) -> object:
        model = make(shape, torch.device("cpu"), dtype)
        return model if device.type == "cpu" else emulation.to_device(model)

    monkeypatch.setattr(checks, "make_model", make_model)
    monkeypatch.setattr(checks, "SHAPES", {"small": checks.SMALL | {"num_hidden_layers": 1}})


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("capability", [(9, 0), (7, 5)])
def test_the_checks_of_make_gpu_hold(card: Card, capability: tuple[int, int]) -> None:
    card.capability = capability
    found = checks.check_device(torch.device("cuda"), 16)
    assert {name: one for name, one in found.items() if not one["ok"]} == {}


@pytest.mark.usefixtures("small")
def test_the_arms_run(card: Card, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arms, "LENGTH", 16)
    monkeypatch.setattr(arms, "TOKENS", 160)
    monkeypatch.setenv(arms.READY, str(tmp_path))
    monkeypatch.setenv(arms.COUNT, "1")
    assert arms.ARMS["paceline"]("small", 0.1) > 0
    assert arms.ARMS["paceline-cohort"]("small", 0.1) > 0
