"""One run's trained weights as one flat buffer, and the way to and from PEFT's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from paceline.config.recipe import Recipe
from paceline.errors import ModelError
from paceline.model.dora import direction_norm
from paceline.model.initialization import initial_embedding, initial_weights, takes_from_base
from paceline.model.lora_weights import EMBEDDING, HEAD, LinearGroup, LoRAWeights
from paceline.model.peft_config import write_peft_config
from paceline.model.stored_tensors import open_tensors
from paceline.model.targets import Target
from paceline.model.token_rows import TokenRows, end_weight
from paceline.runs.manifest import refuse_damaged

# The tokens whose rows are trained (None: all), by the group of their end.
TokenIds = Mapping[int, Sequence[int] | None]

_PREFIX = "base_model.model."
_FLOATS = ("F64", "F32", "F16", "BF16")


class Adapter:
    """LoRA weights of one run over a base's groups of linears, and rows of the ends that it trains whole.

    `parameters` and `gradients` are flat fp32 buffers of the same length: a group after another, in each the
    A matrices of its targets one below the other, then their B matrices, then DoRA's magnitudes; in the end
    the rows. `weights` and `rows` are the views into them that the layers use, by group; `matrices` are each
    target's A (r, in) and B (out, r), `scales` the factor of their product. `rank` is the largest that
    `product` has.

    Args:
        token_rows: the tokens whose rows are trained, by group; see `find_token_rows`.
        tied: the output projection has the rows of the embeddings, unless they are a whole copy.
    """

    def __init__(
        self,
        recipe: Recipe,
        groups: Sequence[LinearGroup],
        targets: Mapping[str, Target],
        device: torch.device,
        token_rows: TokenIds | None = None,
        tied: bool = False,
    ) -> None:
        self.dropout, self._dora, self._start = (
            recipe.lora_dropout,
            recipe.use_dora,
            recipe.init_lora_weights,
        )
        stored = 2 if takes_from_base(self._start) else 1
        self.rank = stored * max((target.rank for target in targets.values()), default=0)
        self.scales = {name: target.scale for name, target in targets.items()}
        chosen_rows = token_rows or {}
        size = adapter_size(recipe, groups, targets, chosen_rows)
        self.parameters = torch.zeros(size, device=device)
        self.gradients = torch.zeros(size, device=device)
        self.weights: dict[int, LoRAWeights] = {}
        self.matrices: dict[str, tuple[Tensor, Tensor]] = {}
        self.magnitudes: dict[str, Tensor] = {}
        self._linears: dict[str, nn.Linear] = {}
        self._ends: list[str] = []
        self._embeddings: set[str] = set()
        self._starts: dict[str, tuple[Tensor, Tensor]] = {}
        self._taken = 0
        self.rows: dict[int, TokenRows] = {}
        self._row_names: dict[int, str] = {}
        for group in groups:
            if chosen := [linear for linear, name in enumerate(group.names) if name in targets]:
                self._add_group(group, chosen, [targets[group.names[linear]] for linear in chosen])
        for group in groups:
            if group.index in chosen_rows:
                self._add_rows(group, chosen_rows[group.index], tied)

    @property
    def names(self) -> list[str]:
        """The full names of the linears that the adapter changes."""
        return list(self.matrices)

    @property
    def plain(self) -> bool:
        """Whether it is a product of A and B alone: no DoRA, and nothing that is subtracted."""
        return not self._dora and not takes_from_base(self._start)

    def _add_group(self, group: LinearGroup, targets: list[int], sizes: list[Target]) -> None:
        linears = [group.linears[target] for target in targets]
        names = [group.names[target] for target in targets]
        a, a_grad = self._take(sum(size.rank for size in sizes), linears[0].in_features)
        pairs = [
            self._take(linear.out_features, size.rank) for linear, size in zip(linears, sizes, strict=True)
        ]
        magnitudes = [self._take(linear.out_features, 1) for linear in linears] if self._dora else []
        start = None
        if takes_from_base(self._start):
            start = torch.zeros_like(a), [torch.zeros_like(b) for b, _ in pairs]
        self.weights[group.index] = weights = LoRAWeights(
            targets=targets,
            ranks=[size.rank for size in sizes],
            scales=[size.scale for size in sizes],
            a=a,
            a_grad=a_grad,
            b=[b for b, _ in pairs],
            b_grad=[grad for _, grad in pairs],
            magnitude=[values[:, 0] for values, _ in magnitudes],
            magnitude_grad=[grad[:, 0] for _, grad in magnitudes],
            start=start,
        )
        for number, (name, linear) in enumerate(zip(names, linears, strict=True)):
            self.matrices[name] = (a[weights.columns(number)], pairs[number][0])
            self._linears[name] = linear
            if group.index in (HEAD, EMBEDDING):
                self._ends.append(name)
            if group.index == EMBEDDING:
                self._embeddings.add(name)
            if self._dora:
                self.magnitudes[name] = weights.magnitude[number]
            if start is not None:
                self._starts[name] = (start[0][weights.columns(number)], start[1][number])

    def _add_rows(self, group: LinearGroup, tokens: Sequence[int] | None, tied: bool) -> None:
        weight = end_weight(group).detach()
        values, grad = self._take(len(weight if tokens is None else tokens), weight.shape[1])
        ids = None if tokens is None else torch.tensor(list(tokens), device=values.device)
        self.rows[group.index] = TokenRows(ids, values, grad, weight)
        self._row_names[group.index] = group.names[0]
        if tied and ids is not None:
            self.rows[HEAD] = TokenRows(ids, values, torch.zeros_like(grad), weight)

    def zero_gradients(self) -> None:
        """Forgets all gradients."""
        self.gradients.zero_()
        if self._has_tied_rows:
            self.rows[HEAD].grad.zero_()

    @property
    def _has_tied_rows(self) -> bool:
        return HEAD in self.rows and HEAD not in self._row_names

    def tie_gradients(self) -> None:
        """Adds the output projection's part of the gradient of tied rows to that of the embeddings.

        Once a step: the sum must not depend on which micro-batches share a forward.
        """
        if self._has_tied_rows:
            self.rows[EMBEDDING].grad.add_(self.rows[HEAD].grad)
            self.rows[HEAD].grad.zero_()

    def _take(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """The next rows x columns elements of both buffers."""
        start, self._taken = self._taken, self._taken + rows * columns
        parameters, gradients = (
            buffer[start : self._taken].view(rows, columns) for buffer in (self.parameters, self.gradients)
        )
        return parameters, gradients

    def gradient_of(self, name: str) -> tuple[Tensor, Tensor]:
        """The gradients of a module's A and B, as views into the flat buffer."""
        a, b = (
            self.gradients[m.storage_offset() : m.storage_offset() + m.numel()].view(m.shape)
            for m in self.matrices[name]
        )
        return a, b

    def product(self, name: str) -> tuple[Tensor, Tensor]:
        """A and B of all that a module is changed by.

        What PiSSA and OLoRA take out of the base stands in them as further ranks, [A; A0] and [B, -B0]:
        PEFT's own conversion to an adapter that fits the base as it is.
        """
        a, b = self.matrices[name]
        if not self._starts:
            return a, b
        first_a, first_b = self._starts[name]
        return torch.cat([a, first_a]), torch.cat([b, -first_b], dim=1)

    def halves(self) -> Iterator[tuple[Tensor, Tensor, bool]]:
        """Every block of parameters with its gradients, and whether it is of B (or a magnitude), not of A."""
        for weights in self.weights.values():
            yield weights.a, weights.a_grad, False
            for b, grad in zip(weights.b, weights.b_grad, strict=True):
                yield b, grad, True
            for magnitude, grad in zip(weights.magnitude, weights.magnitude_grad, strict=True):
                yield magnitude, grad, True
        for index in self._row_names:
            yield self.rows[index].values, self.rows[index].grad, False

    def initialize(self, seed: int) -> None:
        """The start that the recipe names (`initial_weights`); magnitudes and rows are the base's own."""
        for name, (a, b) in self.matrices.items():
            if name in self._embeddings:
                a.zero_()
                b.copy_(initial_embedding(seed, name, *b.shape))
                continue
            first_a, first_b = initial_weights(
                self._start, seed, name, self._linears[name], a.shape[0], self.scales[name]
            )
            a.copy_(first_a)
            b.copy_(first_b)
            if self._starts:
                self._starts[name][0].copy_(a)
                self._starts[name][1].copy_(b)
        for weights in self.weights.values():
            for target, magnitude in enumerate(weights.magnitude):
                name = next(n for n, m in self.magnitudes.items() if m is magnitude)
                magnitude.copy_(direction_norm(weights, target, self._linears[name]))
        for index in self._row_names:
            rows = self.rows[index]
            rows.values.copy_(rows.first())

    def save(self, folder: Path, recipe: Recipe) -> None:
        """Writes `adapter_config.json` and `adapter_model.safetensors` as PEFT does."""
        folder.mkdir(parents=True, exist_ok=True)
        ids = {name: self.rows[index].ids for index, name in self._row_names.items()}
        rows = {name: tokens.tolist() for name, tokens in ids.items() if tokens is not None}
        write_peft_config(folder, recipe, self.names, rows)
        tensors = {}
        for name in self.names:
            a, b = self.product(name)
            tensors[self._key(name, "A")] = a.cpu().contiguous()
            tensors[self._key(name, "B")] = b.cpu().contiguous()
        for name, magnitude in self.magnitudes.items():
            tensors[f"{_PREFIX}{name}.lora_magnitude_vector"] = magnitude.cpu().contiguous()
        for index in self._row_names:
            tensors[self._row_key(index)] = self.rows[index].values.cpu().contiguous()
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Reads weights that PEFT or `save` wrote.

        Raises:
            ModelError: no weights there, or weights for other modules, of another rank or type, not finite.
            RunError: the files are not what they were written as.
        """
        refuse_damaged(folder)
        path = folder / "adapter_model.safetensors"
        if not path.is_file():
            raise ModelError(
                f"{folder}: no adapter_model.safetensors there; expected an adapter in PEFT's format"
            )
        expected = dict(self._stored_shapes())
        with open_tensors(path) as stored:
            ends, keys = dict(self._stored_ends()), set(stored.keys())
            if odd := sorted(set(expected).symmetric_difference(keys - set(ends))):
                raise ModelError(f"{path}: does not fit this base and recipe; differing tensor: {odd[0]}")
            for key, shape in expected.items():
                _check_stored(path, key, stored.get_slice(key), shape)
            for key in keys & set(ends):
                _check_base(path, key, stored.get_tensor(key), ends[key])
            self._copy(stored)
        if not bool(torch.isfinite(self.parameters).all()):
            raise ModelError(f"{path}: holds values that are not finite")

    def _copy(self, stored: Any) -> None:
        """Takes over the tensors of an open file."""
        for name in self.matrices:
            self._load_pair(name, *(stored.get_tensor(self._key(name, half)) for half in "AB"))
        for name, magnitude in self.magnitudes.items():
            magnitude.copy_(stored.get_tensor(f"{_PREFIX}{name}.lora_magnitude_vector"))
        for index in self._row_names:
            self.rows[index].values.copy_(stored.get_tensor(self._row_key(index)))

    def _stored_ends(self) -> Iterator[tuple[str, Tensor]]:
        """What PEFT stores of the base itself beside adapters of its ends, as the base has it."""
        for name in self._ends:
            linear = self._linears[name]
            embedded = name in self._embeddings
            yield f"{_PREFIX}{name}.base_layer.weight", linear.weight.t() if embedded else linear.weight
            if linear.bias is not None:
                yield f"{_PREFIX}{name}.base_layer.bias", linear.bias

    def _key(self, name: str, half: str) -> str:
        """PEFT's name of a module's A or B in a file."""
        kind = f"lora_embedding_{half}" if name in self._embeddings else f"lora_{half}.weight"
        return f"{_PREFIX}{name}.{kind}"

    def _row_key(self, index: int) -> str:
        """PEFT's name of an end's rows in a file."""
        kind = "weight" if self.rows[index].ids is None else "token_adapter.trainable_tokens_delta"
        return f"{_PREFIX}{self._row_names[index]}.{kind}"

    def _load_pair(self, name: str, a: Tensor, b: Tensor) -> None:
        own_a, own_b = self.matrices[name]
        rank = own_a.shape[0]
        own_a.copy_(a[:rank])
        own_b.copy_(b[:, :rank])
        if self._starts:
            self._starts[name][0].copy_(a[rank:])
            self._starts[name][1].copy_(-b[:, rank:])

    def _stored_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The tensors of a file and their shapes, as `save` writes them."""
        times = 2 if self._starts else 1
        for name, (a, b) in self.matrices.items():
            yield self._key(name, "A"), (times * a.shape[0], a.shape[1])
            yield self._key(name, "B"), (b.shape[0], times * b.shape[1])
        for name, magnitude in self.magnitudes.items():
            yield f"{_PREFIX}{name}.lora_magnitude_vector", tuple(magnitude.shape)
        for index in self._row_names:
            yield self._row_key(index), tuple(self.rows[index].values.shape)


def _check_stored(path: Path, key: str, stored: Any, shape: tuple[int, ...]) -> None:
    """Refuses a tensor of another shape, or of whole numbers, before it is read."""
    what = key.removeprefix(_PREFIX).removesuffix(".weight").replace(".lora_", " lora_")
    if tuple(stored.get_shape()) != shape:
        raise ModelError(f"{path}: {what} is {tuple(stored.get_shape())}, expected {shape}")
    if stored.get_dtype() not in _FLOATS:
        raise ModelError(f"{path}: {what} is of type {stored.get_dtype()}; there are {', '.join(_FLOATS)}")


def _check_base(path: Path, key: str, stored: Tensor, own: Tensor) -> None:
    """Refuses an adapter that brings another embedding or output projection than the base has."""
    narrow = min(stored.dtype, own.dtype, key=lambda dtype: dtype.itemsize)
    if stored.shape != own.shape or not torch.equal(stored.to(narrow), own.detach().cpu().to(narrow)):
        raise ModelError(
            f"{path}: {key.removeprefix(_PREFIX)} holds weights that are not the base's own (new tokens?); "
            "that base itself is not here: save it with its changed embeddings and name it as the base"
        )


def adapter_size(
    recipe: Recipe,
    groups: Sequence[LinearGroup],
    targets: Mapping[str, Target],
    token_rows: TokenIds,
) -> int:
    """Parameters of an adapter, without making it."""
    chosen = ((token_rows[g.index], end_weight(g)) for g in groups if g.index in token_rows)
    rows = sum(len(weight if ids is None else ids) * weight.shape[1] for ids, weight in chosen)
    linears = (pair for group in groups for pair in zip(group.names, group.linears, strict=True))
    return rows + sum(
        targets[name].rank * (linear.in_features + linear.out_features)
        + (linear.out_features if recipe.use_dora else 0)
        for name, linear in linears
        if name in targets
    )
