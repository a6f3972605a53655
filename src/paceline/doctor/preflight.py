"""What can be known of a run before it trains: recipe, tokens, schedule, model, and two probe steps."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from paceline.config.data import Clean
from paceline.config.recipe import Recipe
from paceline.data.chat import Chat
from paceline.data.clean import clean
from paceline.data.split import Split
from paceline.model.base import Base
from paceline.model.quantization import UNQUANTIZED, has_bf16_products, has_fp16_products
from paceline.runs.directory import run_bytes
from paceline.runs.losses import ExampleLosses
from paceline.training.distributed import SINGLE_PROCESS
from paceline.training.heldout import held_out_losses
from paceline.training.micro_batches import make_micro_batches
from paceline.training.objective import Objective, first_margin
from paceline.training.optimizer import make_optimizer
from paceline.training.order import DataOrder
from paceline.training.prepare import Prepared, Preparer
from paceline.training.schedule import learning_rate
from paceline.training.step import StepItem, forward_backward, reduce_gradients

# Training examples that the rules look at, and of these the ones that are decoded to text.
SAMPLE = 300
TEXTS = 100
# Held-out examples that the bare base is evaluated on.
BASE_EXAMPLES = 100
# Examples of each side of the split among which copies are looked for.
COPY_EXAMPLES = 5000
PROBE_STEPS = 2
PROBE_EXAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """One run before its first step: the subject of the rules before training.

    `unreached` are modules whose B had a gradient of exactly zero in two steps on the real base.
    `base_losses` are the bare base's on up to 100 held-out examples. `copies` counts copies and leaks by
    rule, among up to 5,000 examples of each side. `positions` is the longest sequence that the model knows,
    `disk_needed` and `disk_free` are in bytes. `ends` are the names, full and short, of embeddings and output
    projection, `ends_share` the share of the adapter's parameters there, `tied` whether both are one weight.
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
    ends: set[str]
    ends_share: float
    tied: bool

    @cached_property
    def rates(self) -> NDArray[np.float64]:
        """The learning rate at up to 2,000 evenly spaced steps."""
        rate = learning_rate(self.recipe, self.prepared.plan)
        total = self.prepared.plan.total_steps
        steps = np.unique(np.linspace(0, total - 1, min(total, 2000)).astype(int))
        return np.asarray([rate(int(step)) for step in steps])

    @property
    def own_dtype(self) -> str:
        """What a base is in on this device unless something else is asked for."""
        return UNQUANTIZED.fixed(self.device).dtype

    @staticmethod
    def cpu_multiplies_in(dtype: str) -> bool:
        """Whether this machine's CPU has instructions for products in bf16 or fp16."""
        return has_bf16_products() if dtype == "bfloat16" else has_fp16_products()

    @cached_property
    def sample(self) -> list[tuple[NDArray[np.int32], NDArray[np.uint8]]]:
        """(ids, mask), cut to max_length, of up to 300 training examples."""
        length = self.recipe.max_length
        examples = self.prepared.dataset.examples(self.prepared.split.train[:SAMPLE])
        return [(ids[:length], mask[:length]) for ids, mask in examples]

    @cached_property
    def prompts_and_answers(self) -> list[tuple[bytes, bytes]]:
        """(prompt, supervised tokens) as bytes, cut to max_length, of up to 5,000 training examples."""
        length, train = self.recipe.max_length, self.prepared.split.train[:COPY_EXAMPLES]
        cut = [(ids[:length], mask[:length]) for ids, mask in self.prepared.dataset.examples(train)]
        return [(ids[: mask.argmax()].tobytes(), ids[mask > 0].tobytes()) for ids, mask in cut if mask.any()]

    @cached_property
    def texts(self) -> list[str]:
        """Up to 100 of the sample's examples as the model sees them."""
        return [self.chat.tokenizer.decode(ids) for ids, _ in self.sample[:TEXTS]]


class _Examples(NamedTuple):
    """What decides the measurements that runs may share: the data, and its two sides."""

    dataset: int
    max_length: int
    train: bytes
    held_out: bytes


class PreflightBuilder:
    """Makes the preflights of runs that share a base; what runs have in common is measured once.

    Args:
        folder: where the run directories will be; it may be missing.
    """

    def __init__(self, base: Base, preparer: Preparer, folder: Path) -> None:
        self.base, self._preparer = base, preparer
        existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
        self._disk_free = shutil.disk_usage(existing).free
        self._measured: dict[_Examples, tuple[ExampleLosses, dict[str, int]]] = {}

    def build(self, prepared: Prepared) -> Preflight:
        """Gathers what the rules look at; probes the base for two steps."""
        recipe, config = prepared.recipe, self.base.model.config
        base_losses, copies = self._measure(prepared)
        ends = [name for group in self.base.ends for name in group.names]
        return Preflight(
            recipe=recipe,
            prepared=prepared,
            chat=self._preparer.chat_of(recipe),
            hidden_size=int(config.hidden_size),
            positions=getattr(config, "max_position_embeddings", None),
            model_type=str(config.model_type),
            device=self.base.device,
            unreached=unreached_modules(recipe, prepared, self.base),
            base_losses=base_losses,
            copies=copies,
            disk_needed=run_bytes(self.base.adapter_size(recipe), recipe),
            disk_free=self._disk_free,
            ends={name for full in ends for name in (full, full.rsplit(".", 1)[-1])},
            ends_share=self.base.ends_size(recipe) / self.base.adapter_size(recipe),
            tied=self.base.tied,
        )

    def _measure(self, prepared: Prepared) -> tuple[ExampleLosses, dict[str, int]]:
        """The bare base's losses on held-out examples, and the number of copies by rule."""
        dataset, length = prepared.dataset, prepared.recipe.max_length
        whole, parts = prepared.texts
        train, held_out = parts.train[:COPY_EXAMPLES], parts.eval[:COPY_EXAMPLES]
        key = _Examples(id(dataset), length, train.tobytes(), held_out.tobytes())
        if key not in self._measured:
            measured = prepared.split.eval[:BASE_EXAMPLES]
            losses = held_out_losses(self.base, None, dataset, measured, length)
            only_copies = Clean(min_answer=0, outliers=None, max_repetition=None)
            copies = clean(whole, only_copies, Split(train, held_out)).removed
            self._measured[key] = losses, copies
        return self._measured[key]


def unreached_modules(recipe: Recipe, prepared: Prepared, base: Base) -> list[str]:
    """Modules of the adapter whose B has a gradient of exactly zero in the run's first two steps."""
    adapter = base.new_adapter(recipe)
    adapter.initialize(recipe.seed)
    optimizer = make_optimizer(recipe.model_copy(update={"optim": "adamw"}), adapter)
    objective = Objective(recipe.model_copy(update={"kl": None, "distill": None}), prepared.dataset)
    order = DataOrder(recipe, prepared.plan)
    reached: set[str] = set()
    for step in range(min(PROBE_STEPS, prepared.plan.total_steps)):
        adapter.zero_gradients()
        examples = prepared.split.train[order(step)[:PROBE_EXAMPLES]]
        micro_batches = list(make_micro_batches(prepared.dataset, examples, recipe.max_length))
        loss = objective.begin(step, micro_batches, margin=first_margin(base))
        for micro_batch in micro_batches:
            forward_backward(base, [StepItem(micro_batch=micro_batch, adapter=adapter, loss=loss)])
        reached |= {name for name in adapter.names if bool(adapter.gradient_of(name)[1].any())}
        reduce_gradients(adapter, loss, SINGLE_PROCESS)
        if bool(adapter.gradients.isfinite().all()):  # of fp16 it may not be, until a run lowers its scale
            optimizer.step()
    return [name for name in adapter.names if name not in reached]
