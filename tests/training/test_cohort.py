"""Together equals alone: the same bits whatever trains beside a run, whatever the token budget."""

from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor

from helpers import MakeBase, MakeRecipe, MakeStudy, adapter_bytes
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.model.base import Base
from paceline.model.batch import PackedBatch
from paceline.runs.events import FailedEvent, read_events
from paceline.training import budget as budget_module
from paceline.training.study import TrainingOptions, train_study

pytestmark = pytest.mark.slow

HETEROGENEOUS: dict[str, dict[str, Any]] = {
    "r8": dict(lora_r=8, batch_size=4, grad_accum=1, lora_dropout=0.0, max_steps=None, epochs=0.3),
    "r16": dict(
        lora_r=16,
        batch_size=8,
        grad_accum=2,
        lora_dropout=0.05,
        max_steps=None,
        epochs=1.5,
        lr_scheduler="linear",
    ),
    "r32": dict(
        lora_r=32,
        lora_alpha=64,
        batch_size=32,
        grad_accum=1,
        lora_dropout=0.1,
        max_steps=5,
        lr_scheduler="constant",
    ),
    "r64": dict(
        lora_r=64,
        batch_size=2,
        grad_accum=8,
        lora_dropout=0.1,
        max_steps=7,
        target_modules=["q_proj", "v_proj"],
        eval_steps=3,
    ),
    "regex": dict(
        lora_r=12,
        batch_size=4,
        grad_accum=4,
        max_steps=6,
        target_modules=r".*\.1\..*(k_proj|gate_proj|down_proj)",
        use_rslora=True,
        lr_scheduler="cosine_with_restarts",
        num_cycles=2,
        seed=7,
    ),
}


@pytest.fixture(scope="module")
def alone(tiny_base: MakeBase, sums: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """name -> adapter bytes of each heterogeneous run trained by itself, one piece a forward."""
    found = {}
    for name, fields in HETEROGENEOUS.items():
        folder = tmp_path_factory.mktemp(name)
        made = make_recipe(
            {
                "base": tiny_base("qwen3"),
                "data": sums,
                "max_length": 256,
                "lr": 1e-3,
                "logging_steps": 1,
                **fields,
            },
            name,
        )
        train_study(Study(name="alone", runs=[Run(name=name, recipe=made)]), folder)
        found[name] = adapter_bytes(folder / name)
    assert len(set(found.values())) == len(found)
    return found


@pytest.mark.parametrize("budget", [2048, 5000, 100_000])
def test_five_runs_together_equal_each_alone(
    alone: dict[str, bytes],
    recipe: MakeRecipe,
    study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    budget: int,
) -> None:
    monkeypatch.setattr(budget_module, "MICRO_BATCH_TOKENS", budget)
    train_study(
        study(**{name: recipe(**{"max_steps": None, **fields}) for name, fields in HETEROGENEOUS.items()}),
        tmp_path,
    )
    for name, expected in alone.items():
        assert adapter_bytes(tmp_path / name) == expected, name


def test_neighbours_that_fail_or_stop_change_nothing(
    alone: dict[str, bytes],
    recipe: MakeRecipe,
    study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget_module, "MICRO_BATCH_TOKENS", 8192)
    runs = {
        "r16": recipe(**{"max_steps": None, **HETEROGENEOUS["r16"]}),
        "explodes": recipe(
            lr=1e30,
            max_grad_norm=0,
            batch_size=4,
            grad_accum=1,
            max_steps=30,
            warmup_ratio=0,
            lr_scheduler="constant",
        ),
        "short": recipe(max_steps=1),
    }
    outcome = train_study(study(**runs), tmp_path)
    assert outcome.states() == {"r16": "finished", "explodes": "failed", "short": "finished"}
    assert adapter_bytes(tmp_path / "r16") == alone["r16"]
    assert not (tmp_path / "explodes" / "adapter").exists()
    assert isinstance(read_events(tmp_path / "explodes" / "events.jsonl")[-1], FailedEvent)


def test_out_of_memory_halves_the_budget_and_changes_nothing(
    alone: dict[str, bytes],
    recipe: MakeRecipe,
    study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device with room for 3,000 tokens: larger forwards fail, every other one in its backward."""
    plain = Base.hidden
    calls: list[int] = []

    def limited(self: Base, batch: PackedBatch) -> Tensor:
        hidden = plain(self, batch)
        if torch.is_grad_enabled() and len(hidden) > 3000:
            calls.append(len(hidden))
            if len(calls) % 2:
                raise torch.OutOfMemoryError("no room in the forward")
            hidden.register_hook(_no_room)
        return hidden

    monkeypatch.setattr(Base, "hidden", limited)
    names = ("r16", "r32", "r64")
    train_study(
        study(**{name: recipe(**{"max_steps": None, **HETEROGENEOUS[name]}) for name in names}),
        tmp_path,
        TrainingOptions(token_budget=20_000),
    )
    assert len(calls) >= 2
    for name in names:
        assert adapter_bytes(tmp_path / name) == alone[name], name


def _no_room(gradient: Tensor) -> NoReturn:
    raise torch.OutOfMemoryError("no room in the backward")
