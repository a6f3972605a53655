"""What several tests need and no fixture gives."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from paceline.config.recipe import Recipe
from paceline.config.study import Study
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.loss import segment_losses
from paceline.model.segment import Segment
from paceline.runs.inputs import Inputs
from paceline.training.callbacks import Callback, CohortView

CPU = torch.device("cpu")


class MakeBase(Protocol):
    """architecture -> folder of a tiny base; the fixture `tiny_base`."""

    def __call__(self, architecture: str = "qwen3") -> str: ...


class MakeRecipe(Protocol):
    """Fields -> a recipe on the tiny base; the fixture `recipe`."""

    def __call__(self, **fields: Any) -> Recipe: ...


class MakeStudy(Protocol):
    """Named recipes -> a study of them; the fixture `study`."""

    def __call__(self, **recipes: Recipe) -> Study: ...


def save_random_base(config: Any, tokenizer: Any, folder: Path) -> str:
    """Writes a model with weights of seed 0, and its tokenizer; returns the folder: a base's name."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def adapter_bytes(folder: Path) -> bytes:
    """The weights of a run's adapter, bit for bit."""
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def some_inputs(**digests: Any) -> Inputs:
    """The inputs of a run, each digest named after what it is of."""
    fields = {
        "base_weights": "weights",
        "base_config": "config",
        "tokenizer": "tokenizer",
        "template": "template",
        "train_rows": "train",
        "held_out_rows": "held out",
    }
    return Inputs(**{"version": "0.1.0", "checkpoint_format": 2, **fields, **digests})


def random_adapter(base: Base, recipe: Recipe, seed: int = 0) -> Adapter:
    """An adapter of which no matrix is zero."""
    adapter = base.new_adapter(recipe)
    adapter.parameters.normal_(std=0.1, generator=torch.Generator().manual_seed(seed))
    return adapter


def random_sequences(
    lengths: Iterable[int], supervised: float = 0.5, vocabulary: int = 4000, seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """(ids, labels) of sequences of which the last part is supervised."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for length in lengths:
        ids = torch.randint(5, vocabulary, (length + 1,), generator=generator)
        labels = ids[1:].clone()
        labels[: int(length * (1 - supervised))] = -100
        found.append((ids[:-1], labels))
    return found


def gradient_of(
    adapter: Adapter, base: Base, runs: Sequence[tuple[tuple[Tensor, Tensor], Adapter]]
) -> Tensor:
    """An adapter's gradient from one forward of ((ids, labels), adapter), each a segment of its own."""
    segments, start = [], 0
    for (ids, _), own in runs:
        own.gradients.zero_()
        segments.append(Segment(start, start + len(ids), own))
        start += len(ids)
    batch = pack_sequences([sequence for sequence, _ in runs], segments, base.device)
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        for segment in segments:
            segment_losses(hidden.detach(), base.head, batch, segment, gradient)
        hidden.backward(gradient)
    return adapter.gradients.clone()


def plain_model(folder: str, adapter: Adapter | None = None) -> Any:
    """transformers' own model in fp32 and eager attention, an adapter's products added to its weights."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for name, (a, b) in (adapter.matrices if adapter else {}).items():
            model.get_submodule(name).weight += adapter.scales[name] * b @ a
    return model.eval().requires_grad_(False)


@torch.no_grad()
def packed_logits(base: Base, sequences: Sequence[Tensor], adapter: Adapter | None = None) -> list[Tensor]:
    """Each sequence's logits from one packed batch, all with the same adapter."""
    lengths = [len(ids) for ids in sequences]
    supervised = [(ids, ids) for ids in sequences]
    batch = pack_sequences(supervised, [Segment(0, sum(lengths), adapter)], base.device)
    with use_batch(batch):
        logits = base.hidden(batch) @ base.head.t()
    return list(logits[: sum(lengths)].split(lengths))


def plain_attention(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    """Softmax attention written out: (heads, T, d) each; returns (T, heads, d)."""
    key, value = (half.repeat_interleave(query.shape[0] // key.shape[0], 0) for half in (key, value))
    here = torch.arange(query.shape[1])
    past = here[:, None] - here[None, :]
    allowed = (past >= 0) & (past < (window or query.shape[1]))
    scores = (query @ key.transpose(1, 2) * scale).masked_fill(~allowed, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(0, 1)


@contextmanager
def float64_by_default() -> Iterator[None]:
    """New tensors and modules are in float64, where a gradient can be compared to nine digits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class StopWhen(Callback):
    """Asks for a stop once `reached` says so of the cohort."""

    def __init__(self, reached: Callable[[CohortView], bool]) -> None:
        self._reached = reached
        self._stop = False

    def on_micro_step(self, cohort: CohortView) -> None:
        self._stop = self._reached(cohort)

    def wants_stop(self) -> bool:
        return self._stop
