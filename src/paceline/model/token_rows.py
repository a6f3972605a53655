"""Rows of embeddings and output projection that a run trains whole: of some tokens, or all of them.

They are PEFT's trainable tokens and modules_to_save. The run's rows stand in the place of the base's, they
are not added to them. Where both ends are one weight, so are the rows of some tokens, but not whole copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from paceline.config.recipe import Recipe
from paceline.errors import ModelError
from paceline.model.lora_weights import EMBEDDING, HEAD, LinearGroup
from paceline.model.products import product


@dataclass(frozen=True)
class TokenRows:
    """One adapter's rows of one end.

    Shapes: `ids` (n,), the tokens (None: every one); `values` and `grad` (n, width) fp32; `weight`
    (vocabulary, width), the base's own.
    """

    ids: Tensor | None
    values: Tensor
    grad: Tensor
    weight: Tensor

    def find(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each of `tokens` (T,) is one of the ids, and its row; without a wait for the device."""
        if self.ids is None:
            return torch.ones_like(tokens, dtype=torch.bool), tokens
        same = tokens[:, None] == self.ids
        return same.any(dim=1), same.byte().argmax(dim=1)

    def first(self) -> Tensor:
        """The base's own rows (n, width)."""
        return self.weight if self.ids is None else self.weight[self.ids]


def find_token_rows(
    recipe: Recipe, ends: Sequence[LinearGroup], tied: bool, base: str, new_ids: Sequence[int] = ()
) -> dict[int, list[int] | None]:
    """The token ids whose rows a recipe trains (None: all), by the group of their end.

    A list means the embeddings, as in PEFT. Where the ends are `tied` only the embeddings are named: the
    output projection has the same rows. New tokens have rows in both.

    Raises:
        ModelError: an end that is not there or not plain, a token beyond the vocabulary, a bias on the output
            projection, other tokens for each of two tied ends.
    """
    names = {group.names[0]: group for group in ends}
    embeddings = next((name for name, group in names.items() if group.index == EMBEDDING), "embed_tokens")
    head = next((name for name, group in names.items() if group.index == HEAD), "lm_head")
    listed = recipe.trainable_token_indices or {}
    wanted = dict(listed) if isinstance(listed, dict) else {embeddings: listed}
    found: dict[int, list[int]] = {}
    for module, ids in wanted.items():
        found[_end("trainable_token_indices", module, ids, names, base).index] = list(ids)
    if tied and HEAD in found and found.get(EMBEDDING) != found.pop(HEAD):
        raise ModelError(
            f"trainable_token_indices: embeddings and output projection of {base} are one weight and train "
            "the same rows; give one list of tokens"
        )
    for module in ([embeddings] if tied else [embeddings, head]) if new_ids else []:
        index = _end("new_tokens", module, new_ids, names, base).index
        found[index] = list(dict.fromkeys([*found.get(index, ()), *new_ids]))
    copied = recipe.modules_to_save or []
    return found | {_end("modules_to_save", module, [0], names, base).index: None for module in copied}


def _end(
    field: str, module: str, ids: Sequence[int], ends: Mapping[str, LinearGroup], base: str
) -> LinearGroup:
    """The end of this name, whose rows can be trained."""
    group = next((group for name, group in ends.items() if f".{name}".endswith(f".{module}")), None)
    if group is None:
        raise ModelError(
            f"{field}: {base} has no embeddings or output projection {module!r} with plain weights; "
            f"there are {', '.join(ends) or 'none'}"
        )
    size = len(end_weight(group))
    if (largest := max(ids)) >= size:
        raise ModelError(f"{field}: {base} has no token {largest}; its vocabulary has {size:,} rows")
    if group.index == HEAD and group.linears[0].bias is not None:
        raise ModelError(
            f"{field}: the output projection of {base} has a bias, which PEFT leaves out where tokens' rows "
            "are trained and trains with a whole copy; only its embeddings can be named"
        )
    return group


def refuse_unknown_tokens(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses trained rows of tokens that no text has.

    Raises:
        ModelError: with the first of them.
    """
    given = recipe.trainable_token_indices
    if given is None:
        return
    listed = list(given.values()) if isinstance(given, dict) else [given]
    if odd := sorted({token for ids in listed for token in ids} - set(tokenizer.get_vocab().values())):
        raise ModelError(
            f"trainable_token_indices: the tokenizer of {recipe.base} has no token {odd[0]}; "
            "tokens that it lacks are added with new_tokens"
        )


def end_weight(group: LinearGroup) -> Tensor:
    """The weight (vocabulary, width) of embeddings or output projection."""
    weight = group.linears[0].weight
    return weight.t() if group.index == EMBEDDING else weight


class EmbeddingRows(torch.autograd.Function):
    """The embeddings (1, T, width) with the runs' own rows where their tokens stand.

    `factor` is what some models multiply their embeddings by (Gemma); `padding` is the id whose row gets no
    gradient, as in torch's embedding. `slices` are the runs' parts of the batch.
    """

    @staticmethod
    def forward(
        ctx: Any,
        out: Tensor,
        grad_sentinel: Tensor,
        ids: Tensor,
        slices: list[tuple[slice, TokenRows]],
        factor: float,
        padding: int | None,
    ) -> Tensor:
        result, scale = out.clone(), torch.full((), factor, dtype=out.dtype, device=out.device)
        ctx.found = []
        for own, rows in slices:
            found, which = rows.find(ids[0, own])
            values = rows.values[which].to(out.dtype) * scale
            result[0, own] = torch.where(found[:, None], values, result[0, own])
            ctx.found.append((own, rows, found, which))
        ctx.save_for_backward(ids)
        ctx.factor, ctx.padding = factor, padding
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None, None, None]:
        (ids,) = ctx.saved_tensors
        for own, rows, found, which in ctx.found:
            part = grad[0, own].to(rows.grad.dtype) * ctx.factor
            trained = found if ctx.padding is None else found & (ids[0, own] != ctx.padding)
            rows.grad.index_add_(0, which, part.masked_fill_(~trained[:, None], 0.0))
        return grad if ctx.needs_input_grad[0] else None, None, None, None, None, None


class HeadCopy:
    """An adapter's own output projection: the loss multiplies with it in the place of the base's."""

    def __init__(self, own: TokenRows, rows: Tensor) -> None:
        self._own, self._inputs = own, rows[:, : own.values.shape[1]]

    def add(self, logits: Tensor, chunk: slice) -> None:
        """Nothing: the logits are those of the copy."""

    def backward(self, slope: Tensor, chunk: slice, gradient: Tensor) -> None:
        """Adds to the copy's gradient; `slope` is d(loss)/d(logits)."""
        self._own.grad.add_(product(slope.to(self._inputs.dtype).t(), self._inputs[chunk]))


class HeadRows:
    """An adapter's own rows in the logits of its supervised positions `rows` (n, width or more)."""

    def __init__(self, own: TokenRows, rows: Tensor) -> None:
        self._own, self._ids = own, own.ids
        self._inputs = rows[:, : own.values.shape[1]]
        self._values = own.values.to(rows.dtype)
        self._moved = self._values - own.first().to(rows.dtype)

    def add(self, logits: Tensor, chunk: slice) -> None:
        """Puts a chunk's products with the rows in the place of the base's."""
        logits[:, self._ids] = product(self._inputs[chunk], self._values.t())

    def backward(self, slope: Tensor, chunk: slice, gradient: Tensor) -> None:
        """Adds to the rows' gradient, and to the chunk's `gradient` what it lacks: the base's rows are in it.

        `slope` is d(loss)/d(logits).
        """
        own_slope = slope[:, self._ids].to(self._values.dtype)
        self._own.grad.add_(product(own_slope.t(), self._inputs[chunk]))
        gradient[:, : self._moved.shape[1]] += own_slope @ self._moved
