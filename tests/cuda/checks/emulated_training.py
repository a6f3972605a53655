"""Training, evaluation and generation on a CUDA device that is not there."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import bitsandbytes  # noqa: F401 - before there is a device: it would look for its kernels
import pytest
import torch
from emulation import Card, Counts, DeviceTensor, counting
from safetensors.torch import load_file
from torch import Tensor

from helpers import MakeBase, MakeRecipe, MakeStudy
from paceline.config.objective import KL
from paceline.model.base import Base, load_base
from paceline.model.quantization import BaseFormat
from paceline.runs.events import EvalEvent, of_kind, read_events
from paceline.training.budget import MOST_TOKENS
from paceline.training.callbacks import Callback
from paceline.training.estimate import _train_micro_batch
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.micro_batches import MicroBatch, make_micro_batches
from paceline.training.objective import Objective
from paceline.training.prepare import Prepared, Preparer
from paceline.training.step import StepItem, forward_backward
from paceline.training.study import TrainingOptions, train_study

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
QUIET = {"logging_steps": 100, "max_steps": 4, "batch_size": 4, "grad_accum": 2, "max_length": 128}


class Ticks(Callback):
    """What each tick of a cohort asked of the device; stops it after a step, if told."""

    stop_reason = "told to"

    def __init__(self, counts: Counts, stop_after: int | None = None) -> None:
        self.waits: list[dict[str, int]] = []
        self._counts, self._seen, self._stop_after = counts, dict(counts.waits), stop_after
        self._steps = 0

    def on_micro_step(self, cohort: Any) -> None:
        now = dict(self._counts.waits)
        self.waits.append({k: v - self._seen.get(k, 0) for k, v in now.items() if v > self._seen.get(k, 0)})
        self._seen, self._steps = now, min(run.step for run in cohort.runs)

    def wants_stop(self) -> bool:
        return self._steps == self._stop_after


def test_heterogeneous_runs_train_resume_and_are_evaluated(
    card: Card, recipe: MakeRecipe, study: MakeStudy, tiny_base: MakeBase, tmp_path: Path
) -> None:
    runs = study(
        plain=recipe(**QUIET, lora_r=8, lora_dropout=0.0),
        anchored=recipe(**QUIET, lora_r=16, lora_dropout=0.1, kl={"coef": 0.1, "tail": 8}),
        distilled=recipe(
            **QUIET, lora_r=4, distill={"teacher": tiny_base(), "weight": 0.5}, gradient_checkpointing=True
        ),
    )
    adapters = []
    for name, stops in (("whole", [None]), ("halves", [2, None])):
        for stop in stops:
            with counting() as counts:
                ticks = Ticks(counts, stop)
                train_study(runs, tmp_path / name, TrainingOptions(callbacks=[ticks]))
            # One read a tick; the first one loads, and a run's last one evaluates and saves.
            training = [waits for waits in ticks.waits[1:] if not any("adapter.py" in at for at in waits)]
            assert [waits for waits in training if sum(waits.values()) > 1] == []
            assert name == "halves" or len(training) == 2
        adapters.append({run.name: _weights(tmp_path / name / run.name) for run in runs.runs})
    for run, whole in adapters[0].items():
        for key, value in whole.items():
            torch.testing.assert_close(adapters[1][run][key], value, atol=1e-5, rtol=1e-3)
        losses = [e.loss for e in of_kind(read_events(tmp_path / "whole" / run / "events.jsonl"), EvalEvent)]
        assert losses[-1] < losses[0]


def _weights(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(folder / "adapter" / "adapter_model.safetensors")
    return tensors


@pytest.fixture
def few(recipe: MakeRecipe) -> Prepared:
    return Preparer().prepare(recipe(max_length=128, lora_r=4, lora_dropout=0.05, batch_size=8))


def _micro_batches(prepared: Prepared, count: int, cut: int) -> list[MicroBatch]:
    """The first examples, cut into so many micro-batches."""
    (whole,) = make_micro_batches(prepared.dataset, range(count), 64)
    size = count // cut
    return [MicroBatch(whole.sequences[start : start + size]) for start in range(0, count, size)]


def _tick(base: Base, prepared: Prepared, runs: int, cut: int, **fields: Any) -> tuple[Counts, Tensor]:
    """One forward and backward of so many runs; what it asked of the device, and the first one's gradient."""
    recipe = prepared.recipe.model_copy(update=fields)
    items, adapters = [], []
    for seed in range(runs):
        adapter = _copy(base, recipe, seed)
        assert adapter.dropout == recipe.lora_dropout
        parts = _micro_batches(prepared, 16, cut)
        loss = Objective(recipe, prepared.dataset, HiddenStateCache(base)).begin(0, parts)
        before = 0
        for number, part in enumerate(parts):
            key = (seed, 0, number, 2)
            items.append(
                StepItem(micro_batch=part, adapter=adapter, loss=loss, dropout_key=key, first_row=before)
            )
            before += part.tokens
        adapters.append(adapter)
    with counting() as counts:
        forward_backward(base, items)
    return counts, adapters[0].gradients.cpu()


# What a run more launches: the sums of its own losses.
OF_A_RUN = 12


def _copy(base: Base, recipe: Any, seed: int) -> Any:
    adapter = base.new_adapter(recipe)
    values = torch.empty(adapter.parameters.shape)
    adapter.parameters.copy_(values.normal_(std=0.1, generator=torch.Generator().manual_seed(seed)))
    return adapter


def test_a_tick_launches_the_same_however_its_micro_batches_are_cut_and_waits_for_nothing(
    card: Card, few: Prepared, tiny_base: MakeBase
) -> None:
    base = load_base(tiny_base())
    whole, gradient = _tick(base, few, 1, 1)
    cut, other = _tick(base, few, 1, 4)
    assert cut.launches == whole.launches
    assert not whole.waits
    # the batch, and the factors of its losses
    assert [place.split(" at ")[0] for place in whole.uploads.elements()] == 2 * ["pinned upload"]
    assert _apart(other, gradient) < 1e-5  # the masks are the same, too
    five, alone = _tick(base, few, 5, 4)
    assert five.launches - whole.launches <= 4 * OF_A_RUN
    assert _apart(alone, gradient) < 1e-5


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_gradients_are_the_cpus(card: Card, few: Prepared, tiny_base: MakeBase) -> None:
    """Without dropout, whose masks are other ones on a CPU."""
    found = []
    for device, dtype in ((CUDA, "auto"), (CPU, "bfloat16"), (CPU, "float32")):
        base = load_base(tiny_base(), device, BaseFormat(dtype=dtype))
        found.append(_tick(base, few, 2, 4, lora_dropout=0.0)[1])
    emulated, bf16, fp32 = found
    assert _apart(emulated, bf16) < 0.05  # fused kernels round less often than a CPU's passes
    assert _apart(emulated, fp32) < 1.1 * _apart(bf16, fp32) < 0.08  # bf16's own error on random weights


def test_what_is_kept_for_the_backward_pass_is_what_the_planner_says(
    card: Card, few: Prepared, tiny_base: MakeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against all that lives on the device when the backward pass begins, and did not before the forward."""
    base = load_base(tiny_base())
    (part,) = _micro_batches(few, 16, 1)
    adapter, objective = base.new_adapter(few.recipe), Objective(few.recipe, few.dataset)
    planned = _train_micro_batch(base, adapter, objective, part, 0)
    before, alive = _alive(), {}
    backward: Any = torch.Tensor.backward

    def begin(hidden: Tensor, gradient: Tensor) -> None:
        alive.update(_alive())
        backward(hidden, gradient)

    monkeypatch.setattr(DeviceTensor, "backward", begin, raising=False)
    item = StepItem(
        micro_batch=part, adapter=adapter, loss=objective.begin(0, [part]), dropout_key=(0, 0, 0, 2)
    )
    forward_backward(base, [item])
    kept = sum(size for storage, size in alive.items() if storage not in before)
    assert kept / part.tokens == pytest.approx(planned / part.tokens, rel=0.1)


KINDS: dict[str, dict[str, Any]] = {
    "anchored": {"kl": KL(coef=0.1, tail=8)},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "head": {"target_modules": ["down_proj", "lm_head"]},
    "rows": {"trainable_token_indices": [9, 31]},
    "copies": {"modules_to_save": ["embed_tokens", "lm_head"]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_any_kind_waits_for_nothing_however_it_is_cut(
    card: Card, few: Prepared, tiny_base: MakeBase, kind: str
) -> None:
    """Two need fewer launches than twice one: DoRA and PiSSA a run at a time, others have most in common."""
    base, fields = load_base(tiny_base()), KINDS[kind]
    whole, gradient = _tick(base, few, 1, 1, **fields)
    cut, other = _tick(base, few, 1, 4, **fields)
    assert not whole.waits
    assert not cut.waits
    assert cut.launches == whole.launches
    assert _apart(other, gradient) < 1e-5
    two, alone = _tick(base, few, 2, 4, **fields)
    assert not two.waits
    assert two.launches < (1.9 if kind in ("dora", "pissa") else 1.6) * whole.launches
    assert _apart(alone, gradient) < 1e-5


def _alive() -> dict[int, int]:
    """Bytes of every storage on the device that a tensor holds."""
    gc.collect()
    storages = [t.host.untyped_storage() for t in gc.get_objects() if type(t) is DeviceTensor]
    return {storage._cdata: storage.nbytes() for storage in storages}


def test_a_quantized_base_trains(card: Card, few: Prepared, tiny_base: MakeBase) -> None:
    base = load_base(tiny_base(), base_format=BaseFormat("nf4"))
    counts, gradient = _tick(base, few, 1, 2)
    assert not counts.waits
    assert bool(gradient.isfinite().all())


def test_gpus_before_ampere_train_in_fp32(card: Card, few: Prepared, tiny_base: MakeBase) -> None:
    card.capability = (7, 5)
    base = load_base(tiny_base())
    assert base.head.dtype == torch.float32
    gradient = _tick(base, few, 1, 2, lora_dropout=0.0)[1]
    on_cpu = _tick(load_base(tiny_base(), CPU), few, 1, 2, lora_dropout=0.0)[1]
    assert _apart(gradient, on_cpu) < 1e-5


def test_runs_of_all_kinds_together_have_the_gradients_of_a_cpu(
    card: Card, few: Prepared, tiny_base: MakeBase
) -> None:
    """In fp32: grouped products for plain runs of any targets, DoRA and PiSSA each by itself beside them."""
    card.capability = (7, 5)
    kinds: list[dict[str, Any]] = [
        {"lora_r": 8},
        {"lora_r": 3, "target_modules": ["q_proj", "v_proj", "up_proj"]},
        {"lora_r": 4, "use_dora": True},
        {"lora_r": 4, "init_lora_weights": "pissa"},
        {"lora_r": 20, "target_modules": ["down_proj", "lm_head"]},
    ]
    found = []
    for device in (CUDA, CPU):
        base = load_base(tiny_base(), device, BaseFormat(dtype="float32"))
        items, adapters = [], []
        for seed, fields in enumerate(kinds):
            recipe = few.recipe.model_copy(update={"lora_dropout": 0.0, **fields})
            (part,) = _micro_batches(few, 4 + seed, 1)
            loss = Objective(recipe, few.dataset).begin(0, [part])
            adapters.append(_copy(base, recipe, seed))
            items.append(StepItem(micro_batch=part, adapter=adapters[-1], loss=loss))
        forward_backward(base, items)
        found.append([adapter.gradients.cpu() for adapter in adapters])
    for emulated, cpu in zip(*found, strict=True):
        assert float(cpu.norm()) > 0
        assert _apart(emulated, cpu) < 1e-5


def test_the_budget_is_what_memory_holds_and_out_of_memory_frees_it(
    card: Card, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[int] = []

    class Watch(Callback):
        def on_micro_step(self, cohort: Any) -> None:
            budgets.append(cohort.token_budget)

    plain, failed = Base.hidden, []

    def hidden(self: Base, batch: Any) -> Tensor:
        out = plain(self, batch)
        if torch.is_grad_enabled() and len(out) > 2500 and not failed:
            failed.append(card.emptied)
            raise torch.OutOfMemoryError("no room")
        return out

    monkeypatch.setattr(Base, "hidden", hidden)
    runs = study(one=recipe(**QUIET | {"batch_size": 32, "max_steps": 1}))
    train_study(runs, tmp_path, TrainingOptions(callbacks=[Watch()]))
    assert max(budgets) > 2048
    assert budgets[-1] <= MOST_TOKENS
    assert failed
    assert card.emptied > failed[0]
