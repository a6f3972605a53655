"""What can be known of a run before it trains: recipe, tokens, schedule, model, and two probe steps."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paceline.config.data import Clean
from paceline.config.recipe import Recipe
from paceline.data.chat import Chat
from paceline.data.clean import clean
from paceline.data.split import Split
from paceline.model.base import Base
from paceline.runs.directory import run_bytes
from paceline.runs.losses import ExampleLosses
from paceline.train.heldout import held_out_losses
from paceline.train.micro_batches import make_micro_batches
from paceline.train.objective import Objective
from paceline.train.optimizer import make_optimizer
from paceline.train.order import DataOrder
from paceline.train.prepare import Prepared
from paceline.train.schedule import learning_rate
from paceline.train.step import StepItem, forward_backward

SAMPLE = 300
PROBE_EXAMPLES = 4
BASE_EXAMPLES = 100


@dataclass(frozen=True)
class Preflight:
    """One run before its first step.

    `unreached` are modules whose B had a gradient of exactly zero in two steps on the real base. `base_losses` are the bare base's on up
    to 100 held-out examples. `copies` counts copies and leaks by rule, among at most 5,000 examples of each side.
    """

    recipe: Recipe
    prepared: Prepared
    chat: Chat
    hidden_size: int
    positions: int | None
    model_type: str
    device: torch.device
    unreached: list[str]
    base_losses: ExampleLosses
    copies: dict[str, int]
    disk_needed: int
    disk_free: int

    @cached_property
    def rates(self) -> NDArray[np.float64]:
        """The learning rate at up to 2,000 evenly spaced steps."""
        rate = learning_rate(self.recipe, self.prepared.plan)
        total = self.prepared.plan.total_steps
        return np.asarray(
            [rate(int(step)) for step in np.unique(np.linspace(0, total - 1, min(total, 2000)).astype(int))]
        )

    @cached_property
    def sample(self) -> list[tuple[NDArray[np.int32], NDArray[np.uint8]]]:
        """(ids, mask), cut to max_length, of up to 300 training examples."""
        cut_at = self.recipe.max_length
        return [
            (ids[:cut_at], mask[:cut_at])
            for ids, mask in map(self.prepared.dataset.example, self.prepared.split.train[:SAMPLE])
        ]

    @cached_property
    def texts(self) -> list[str]:
        """The sample's examples as the model sees them."""
        return [self.chat.tokenizer.decode(ids) for ids, _ in self.sample[:100]]


class Examiner:
    """Makes the preflights of runs that share a base; what runs have in common is measured once."""

    def __init__(self, base: Base, chat: Chat, folder: Path) -> None:
        self.base, self.chat = base, chat
        there = next(p for p in (folder, *folder.resolve().parents) if p.exists())
        self._free = shutil.disk_usage(there).free
        self._losses: dict[tuple[Any, ...], ExampleLosses] = {}
        self._copies: dict[tuple[Any, ...], dict[str, int]] = {}

    def examine(self, prepared: Prepared) -> Preflight:
        """Gathers what the rules look at; probes the base for two steps."""
        recipe, config = prepared.recipe, self.base.model.config
        parameters = self.base.adapter_size(recipe)
        parts = prepared.split
        key = (
            id(prepared.dataset),
            recipe.max_length,
            parts.train[:5000].tobytes(),
            parts.eval[:5000].tobytes(),
        )
        if key not in self._losses:
            self._losses[key] = held_out_losses(
                self.base, None, prepared.dataset, parts.eval[:BASE_EXAMPLES], recipe.max_length
            )
            rules = Clean(min_answer=0, outliers=None, max_repetition=None)
            self._copies[key] = clean(
                prepared.dataset, rules, Split(parts.train[:5000], parts.eval[:5000])
            ).removed
        return Preflight(
            recipe, prepared, self.chat, int(config.hidden_size), getattr(config, "max_position_embeddings", None), str(config.model_type),
            self.base.device, _unreached(recipe, prepared, self.base), self._losses[key], self._copies[key],
            run_bytes(parameters, recipe), self._free,
        )  # fmt: skip


def _unreached(recipe: Recipe, prepared: Prepared, base: Base) -> list[str]:
    adapter = base.new_adapter(recipe)
    adapter.initialize(recipe.seed)
    parameter = torch.nn.Parameter(adapter.parameters)
    parameter.grad = adapter.gradients
    optimizer = make_optimizer(recipe.model_copy(update={"optim": "adamw"}), parameter)
    objective = Objective(recipe.model_copy(update={"kl": None, "distill": None}), prepared.dataset)
    order = DataOrder(recipe, prepared.plan)
    reached: set[str] = set()
    for step in range(min(2, prepared.plan.total_steps)):
        adapter.gradients.zero_()
        chosen = prepared.split.train[order(step)[:PROBE_EXAMPLES]]
        micro_batches = list(make_micro_batches(prepared.dataset, chosen, recipe.max_length))
        loss = objective.begin(step, micro_batches)
        for micro_batch in micro_batches:
            forward_backward(base, [StepItem(micro_batch=micro_batch, adapter=adapter, loss=loss)])
        reached |= {name for name in adapter.names if bool(adapter.gradient_of(name)[1].any())}
        optimizer.step()
    return [name for name in adapter.names if name not in reached]
