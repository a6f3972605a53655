"""What a study will need: memory, steps, tokens and time, from its tokens and a short measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from paceline.config.replicates import without_seed
from paceline.config.study import Run, Study
from paceline.model.adapter import Adapter
from paceline.model.base import Base, default_device, load_base, read_config
from paceline.model.loss import chunk_rows
from paceline.model.quantization import BaseFormat
from paceline.training.budget import fitting_tokens
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.micro_batches import MICRO_BATCH_TOKENS, MicroBatch, make_micro_batches
from paceline.training.objective import Objective
from paceline.training.order import DataOrder
from paceline.training.prepare import Prepared, Preparer, group_by_base
from paceline.training.step import StepItem, forward_backward
from paceline.training.teacher import load_teachers

# How much faster a forward is than a training step, whose backward costs as much again: no weight of the
# base has a gradient.
FORWARD_SPEED = 2.0


@dataclass(frozen=True, kw_only=True)
class RunEstimate:
    """One run.

    `coverage` is passes over its training data, `seconds` its training alone, from the probe's tokens/s;
    `evaluation` are the seconds that each held-out example costs, of all its evaluations together.
    """

    name: str
    steps: int
    tokens: int
    coverage: float
    seconds: float
    evaluation: float


@dataclass(frozen=True, kw_only=True)
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
    study: Study, token_budget: int | None = None, log: Callable[[str], None] = lambda line: None
) -> list[CohortEstimate]:
    """Estimates every cohort of a study.

    Loads each base and trains a micro-batch of every run for a moment; writes nothing.

    Raises:
        PacelineError: whatever training would refuse.
    """
    cohorts = group_by_base(study.runs, lambda run: run.recipe)
    return [
        _load_and_estimate(base, base_format, runs, token_budget, log)
        for (base, base_format), runs in cohorts.items()
    ]


def _load_and_estimate(
    name: str,
    base_format: BaseFormat,
    runs: Sequence[Run],
    token_budget: int | None,
    log: Callable[[str], None],
) -> CohortEstimate:
    read_config(name)
    preparer = Preparer()
    prepared = {run.name: preparer.prepare(run.recipe) for run in runs}
    libraries = psutil.Process().memory_info().rss
    log(f"loading the base {name}")
    base = load_base(name, base_format=base_format)
    return estimate_cohort(base, libraries, prepared, preparer, token_budget, log)


def estimate_cohort(
    base: Base,
    libraries: int,
    runs: Mapping[str, Prepared],
    preparer: Preparer,
    token_budget: int | None,
    log: Callable[[str], None],
) -> CohortEstimate:
    """Estimates runs that share a loaded base.

    Args:
        libraries: bytes that the process had before the base was loaded.
    """
    recipes = [prepared.recipe for prepared in runs.values()]
    teachers = load_teachers(recipes, preparer, base, log)
    reference = HiddenStateCache(base)
    base.checkpoint_layers(any(recipe.gradient_checkpointing for recipe in recipes))
    estimates, activations, parameters, moments = [], 0, 0, 0
    timed: dict[str, tuple[float, int]] = {}
    for name, prepared in runs.items():
        recipe, adapter = prepared.recipe, base.new_adapter(prepared.recipe)
        alike = without_seed(recipe).model_dump_json()
        if alike not in timed:
            log(f"timing a micro-batch of {name}")
            teacher = teachers[recipe.distill.teacher, recipe.distill.quantize] if recipe.distill else None
            objective = Objective(recipe, prepared.dataset, reference, teacher)
            timed[alike] = _time_micro_batches(base, prepared, adapter, objective)
        rate, saved = timed[alike]
        estimates.append(_estimate_run(name, prepared, rate))
        activations = max(activations, saved)
        parameters += 2 * adapter.parameters.nbytes
        moments += int(adapter.parameters.nbytes * (2 if recipe.optim == "adamw" else 0.52))
    available = device_memory(base.device)
    memory = {"libraries": libraries} if base.device.type == "cpu" else {}
    memory |= {
        "base": _bytes(base) + sum(_bytes(teacher.base) for teacher in teachers.values()),
        "adapters and gradients": parameters,
        "optimizers": moments,
    }
    budget = token_budget or MICRO_BATCH_TOKENS
    if token_budget is None and base.device.type == "cuda":
        free = available - sum(memory.values()) - _workspace(base, 0)
        budget = fitting_tokens(free, activations + _workspace(base, 1) - _workspace(base, 0))
    tokens = max(budget, max(map(_longest, runs.values())))
    memory["activations"] = activations * tokens + _workspace(base, tokens)
    return CohortEstimate(base=base.name, runs=estimates, memory=memory, available=available)


def device_memory(device: torch.device | None = None) -> int:
    """Bytes that a device has; None: the one on which training would run here."""
    device = device or default_device()
    if device.type == "cpu":
        return psutil.virtual_memory().total
    return torch.cuda.get_device_properties(device).total_memory


def _estimate_run(name: str, prepared: Prepared, rate: float) -> RunEstimate:
    recipe, plan = prepared.recipe, prepared.plan
    mean = float(np.minimum(prepared.dataset.lengths[prepared.split.train], recipe.max_length).mean())
    tokens = round(plan.coverage * plan.examples * mean)
    held_out = np.minimum(prepared.dataset.lengths[prepared.split.eval], recipe.max_length).sum()
    held_out = float(held_out / prepared.facts.eval)
    evaluations = 1 + (plan.total_steps // recipe.eval_steps if recipe.eval_steps else 0)
    return RunEstimate(
        name=name,
        steps=plan.total_steps,
        tokens=tokens,
        coverage=plan.coverage,
        seconds=tokens / rate,
        evaluation=evaluations * held_out / (rate * FORWARD_SPEED),
    )


def _longest(prepared: Prepared) -> int:
    """Tokens of the longest micro-batch: one long example may be more than one usually holds."""
    longest = np.minimum(prepared.dataset.lengths, prepared.recipe.max_length).max()
    return int(max(longest, MICRO_BATCH_TOKENS))


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


def _time_micro_batches(
    base: Base, prepared: Prepared, adapter: Adapter, objective: Objective
) -> tuple[float, int]:
    """(tokens a second, bytes kept for the backward pass per token), from two of its micro-batches."""
    recipe, plan = prepared.recipe, prepared.plan
    order = DataOrder(recipe, plan)
    first = np.concatenate([order(step) for step in range(min(4, plan.total_steps))])
    examples = prepared.split.train[first]
    cut = make_micro_batches(prepared.dataset, examples, recipe.max_length, recipe.share_prefixes)
    micro_batches = list(cut)[:2]
    step = recipe.kl.start_step + recipe.kl.warmup_steps if recipe.kl else 0
    seconds, saved = 0.0, 0
    for micro_batch in micro_batches:  # the last one counts: the first warms up
        began = time.perf_counter()
        saved = _train_micro_batch(base, adapter, objective, micro_batch, step)
        seconds = time.perf_counter() - began
    return micro_batches[-1].tokens / seconds, saved // micro_batches[-1].tokens


def _train_micro_batch(
    base: Base, adapter: Adapter, objective: Objective, micro_batch: MicroBatch, step: int
) -> int:
    """Bytes that autograd keeps for the backward pass, weights not counted."""
    loss = objective.begin(step, [micro_batch])
    weights = {p.untyped_storage().data_ptr() for p in base.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    item = StepItem(micro_batch=micro_batch, adapter=adapter, loss=loss, dropout_key=(0, 0, 0, 2))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward_backward(base, [item])
    if base.device.type == "cuda":
        torch.cuda.synchronize()
    return sum(kept.values())
