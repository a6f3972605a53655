"""fp16 bases: a gradient that passes through them is scaled so that it neither vanishes nor overflows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import MakeBase, MakeRecipe, MakeStudy
from paceline.model.base import load_base
from paceline.model.quantization import BaseFormat
from paceline.runs.events import EvalEvent, FailedEvent, TrainEvent, of_kind, read_events
from paceline.training import objective
from paceline.training import run as run_module
from paceline.training.distributed import SINGLE_PROCESS
from paceline.training.micro_batches import make_micro_batches
from paceline.training.objective import Objective
from paceline.training.prepare import Prepared, Preparer
from paceline.training.step import StepItem, forward_backward, reduce_gradients
from paceline.training.study import train_study

CPU = torch.device("cpu")


def _gradient(folder: str, dtype: str, prepared: Prepared, margin: float | None) -> Tensor:
    base = load_base(folder, CPU, BaseFormat(dtype=dtype))
    adapter = base.new_adapter(prepared.recipe)
    values = torch.empty(adapter.parameters.shape)
    adapter.parameters.copy_(values.normal_(std=0.1, generator=torch.Generator().manual_seed(3)))
    parts = list(make_micro_batches(prepared.dataset, range(96), 256))
    loss = Objective(prepared.recipe, prepared.dataset).begin(0, parts, margin=margin)
    forward_backward(base, [StepItem(micro_batch=part, adapter=adapter, loss=loss) for part in parts])
    reduce_gradients(adapter, loss, SINGLE_PROCESS)
    return adapter.gradients.clone()


def test_a_scaled_gradient_is_that_of_fp32_where_a_mean_s_rounds_to_zero(
    tiny_base: MakeBase, recipe: MakeRecipe
) -> None:
    prepared = Preparer().prepare(recipe(lora_r=4, lora_dropout=0.0))
    exact = _gradient(tiny_base(), "float32", prepared, None)

    def apart(margin: float | None) -> float:
        found = _gradient(tiny_base(), "float16", prepared, margin)
        return float((found - exact).norm() / exact.norm())

    assert apart(objective.FP16_MARGIN) < 0.005
    assert apart(None) > 3 * apart(objective.FP16_MARGIN)


def test_a_step_whose_gradient_overflows_begins_again_at_half_the_scale(
    tiny_base: MakeBase,
    recipe: MakeRecipe,
    study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Really: 2**24 times the sum's gradient is beyond fp16."""
    fields = {
        "base": tiny_base(),
        "lora_r": 4,
        "max_steps": 2,
        "batch_size": 4,
        "grad_accum": 1,
        "max_length": 64,
    }
    train_study(study(half=recipe(**fields, dtype="float16"), full=recipe(**fields)), tmp_path / "plain")
    begun: list[float] = []
    begin = Objective.begin

    def watched(self: Objective, step: int, parts: object, measure: bool, margin: float | None) -> object:
        begun.append(margin or 0.0)
        return begin(self, step, parts, measure, margin)  # type: ignore[arg-type]

    monkeypatch.setattr(Objective, "begin", watched)
    monkeypatch.setattr(objective, "FP16_MARGIN", 2.0**24)
    train_study(study(half=recipe(**fields, dtype="float16")), tmp_path / "far")
    assert begun.count(2.0**24) == 2  # every step begins there
    assert len(begun) > 4
    plain, far, full = (
        read_events(tmp_path / folder / "events.jsonl") for folder in ("plain/half", "far/half", "plain/full")
    )
    for one, other in zip(of_kind(plain, TrainEvent), of_kind(far, TrainEvent), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=0.02)
    ends = [of_kind(events, EvalEvent)[-1].loss for events in (plain, full)]
    assert ends[0] == pytest.approx(ends[1], abs=0.002)


def test_a_gradient_that_no_scale_saves_ends_the_run(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infinite(*of_run: Any) -> Tensor:
        reduced = reduce_gradients(*of_run)
        reduced[-1] = torch.inf
        return reduced

    monkeypatch.setattr(run_module, "LEAST_MARGIN", 1.0)
    monkeypatch.setattr(run_module, "reduce_gradients", infinite)
    train_study(study(half=recipe(max_steps=2, dtype="float16")), tmp_path)
    failed = read_events(tmp_path / "half" / "events.jsonl")[-1]
    assert isinstance(failed, FailedEvent)
    assert failed.reason.endswith("grad_norm inf at step 1")
