"""What a study will need: memory by part, steps, tokens and time, from its tokenized data and a short measured probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.model.adapter import Adapter
from paceline.model.base import Base, default_device, load_base, read_config
from paceline.model.loss import chunk_rows
from paceline.model.quantization import BaseFormat
from paceline.train.cohort import BUDGET
from paceline.train.hidden_cache import HiddenStateCache
from paceline.train.micro_batches import MICRO_BATCH_TOKENS, MicroBatch, make_micro_batches
from paceline.train.objective import Objective
from paceline.train.order import DataOrder
from paceline.train.prepare import Prepared, Preparer, group_by_base
from paceline.train.step import StepItem, forward_backward
from paceline.train.teacher import load_teachers


@dataclass(frozen=True)
class RunEstimate:
    """One run. `coverage` is passes over its training data, `seconds` its training alone, from the probe's tokens/s."""

    name: str
    steps: int
    tokens: int
    coverage: float
    seconds: float


@dataclass(frozen=True)
class CohortEstimate:
    """Runs that train together. Memory in bytes by part; `available` is what the device has for all of it."""

    base: str
    runs: list[RunEstimate]
    memory: dict[str, int]
    available: int

    @property
    def total(self) -> int:
        return sum(self.memory.values())


def estimate_study(
    study: Study, budget: int | None = None, log: Callable[[str], None] = lambda line: None
) -> list[CohortEstimate]:
    """Estimates every cohort of a study. Loads each base and trains a piece of every run for a moment; writes nothing.

    Raises:
        PacelineError: whatever training would refuse.
    """
    return [
        _load_and_estimate(base, base_format, runs, budget, log)
        for (base, base_format), runs in group_by_base(study.runs, lambda run: run.recipe).items()
    ]


def _load_and_estimate(
    name: str, base_format: BaseFormat, recipes: Sequence[Run], budget: int | None, log: Callable[[str], None]
) -> CohortEstimate:
    read_config(name)
    preparer = Preparer()
    runs = [(run.name, run.recipe, preparer.prepare(run.recipe)) for run in recipes]
    libraries = psutil.Process().memory_info().rss
    log(f"loading the base {name}")
    return estimate_cohort(load_base(name, base_format=base_format), libraries, runs, preparer, budget, log)


def estimate_cohort(
    base: Base,
    libraries: int,
    runs: Sequence[tuple[str, Recipe, Prepared]],
    preparer: Preparer,
    budget: int | None,
    log: Callable[[str], None],
) -> CohortEstimate:
    """Estimates runs that share a loaded base; `libraries` is the memory that the process had before the base."""
    teachers = load_teachers([recipe for _, recipe, _ in runs], preparer, base, log)
    reference = HiddenStateCache(base)
    base.checkpoint_layers(any(recipe.gradient_checkpointing for _, recipe, _ in runs))
    adapters = [base.new_adapter(recipe) for _, recipe, _ in runs]
    rates, activations = [], 0
    for (run, recipe, ready), adapter in zip(runs, adapters, strict=True):
        log(f"probing {run}")
        teacher = teachers[recipe.distill.teacher, recipe.distill.quantize] if recipe.distill else None
        rate, saved = _probe(
            base, ready, adapter, Objective(recipe, ready.dataset, reference if recipe.kl else None, teacher)
        )
        rates.append(rate)
        activations = max(activations, saved)
    tokens = max(budget or BUDGET[base.device.type], max(_longest(ready) for _, _, ready in runs))
    memory = {
        **({"libraries": libraries} if base.device.type == "cpu" else {}),
        "base": _bytes(base) + sum(_bytes(teacher.base) for teacher in teachers.values()),
        "adapters and gradients": sum(2 * adapter.parameters.nbytes for adapter in adapters),
        "optimizers": sum(
            int(a.parameters.nbytes * (2 if r.optim == "adamw" else 0.52))
            for a, (_, r, _) in zip(adapters, runs, strict=True)
        ),
        "activations": activations * tokens + _workspace(base, tokens),
    }
    estimates = [_run(run, ready, rate) for (run, _, ready), rate in zip(runs, rates, strict=True)]
    return CohortEstimate(base.name, estimates, memory, device_memory(base.device))


def device_memory(device: torch.device | None = None) -> int:
    """Bytes that a device has; None: the one on which training would run here."""
    device = device or default_device()
    return (
        psutil.virtual_memory().total
        if device.type == "cpu"
        else torch.cuda.get_device_properties(device).total_memory
    )


def _run(name: str, prepared: Prepared, rate: float) -> RunEstimate:
    recipe, plan = prepared.recipe, prepared.plan
    mean = float(np.minimum(prepared.dataset.lengths[prepared.split.train], recipe.max_length).mean())
    seen = plan.total_steps / plan.steps_per_epoch * plan.examples
    tokens = round(seen * mean)
    return RunEstimate(name, plan.total_steps, tokens, plan.coverage, tokens / rate)


def _longest(prepared: Prepared) -> int:
    """Tokens of the longest piece: one long example may be more than a piece usually holds."""
    return int(
        max(np.minimum(prepared.dataset.lengths, prepared.recipe.max_length).max(), MICRO_BATCH_TOKENS)
    )


def _bytes(base: Base) -> int:
    held = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
        for t in [*base.model.parameters(), *base.model.buffers()]
    }
    return sum(held.values())


def _workspace(base: Base, tokens: int) -> int:
    """Buffers that come and go: the MLP's gradients, and a chunk of logits with its exponentials."""
    config = base.model.config
    width: int = 4 * getattr(config, "intermediate_size", 4 * config.hidden_size) + 4 * config.hidden_size
    vocabulary = base.head.shape[0]
    return (
        tokens * width * base.head.element_size() + 3 * chunk_rows(vocabulary, base.device) * vocabulary * 4
    )


def _probe(base: Base, prepared: Prepared, adapter: Adapter, objective: Objective) -> tuple[float, int]:
    """(tokens a second, bytes kept for the backward pass per token) of a run, from two of its first pieces."""
    recipe, dataset = prepared.recipe, prepared.dataset
    order = DataOrder(recipe, prepared.plan)
    examples = prepared.split.train[
        np.concatenate([order(step) for step in range(min(4, prepared.plan.total_steps))])
    ]
    micro_batches = list(make_micro_batches(dataset, examples, recipe.max_length))[:2]
    took, saved = 0.0, 0
    for micro_batch in micro_batches:  # the last one counts: the first warms up
        began = time.perf_counter()
        saved = _train_piece(
            base,
            adapter,
            objective,
            micro_batch,
            recipe.kl.start_step + recipe.kl.warmup_steps if recipe.kl else 0,
        )
        took = time.perf_counter() - began
    adapter.gradients.zero_()
    return micro_batches[-1].tokens / took, saved // micro_batches[-1].tokens


def _train_piece(
    base: Base, adapter: Adapter, objective: Objective, micro_batch: MicroBatch, step: int
) -> int:
    """Bytes that autograd keeps for the backward pass, weights not counted."""
    objective.begin(step, [micro_batch], False)
    weights = {p.untyped_storage().data_ptr() for p in base.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        base_format = tensor.untyped_storage()
        if base_format.data_ptr() not in weights:
            kept[base_format.data_ptr()] = base_format.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward_backward(base, [StepItem(micro_batch, adapter, objective, (0, 0, 0, 2))])
    if base.device.type == "cuda":
        torch.cuda.synchronize()
    return sum(kept.values())
