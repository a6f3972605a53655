"""What adapters change at the two ends of a model: its embeddings and its output projection.

To an adapter an embedding is a linear whose inputs are one-hot: W' (hidden size, vocabulary), A (r,
vocabulary), B (hidden size, r), as PEFT's lora_embedding_A and lora_embedding_B; without dropout. The output
projection's part is added to the chunks of logits (see `loss`). Tied weights stay as they are: only the end
that is targeted gets a product, as in PEFT. Rows that are trained whole are in `token_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from paceline.model.adapter import Adapter
from paceline.model.batch import MIN_TOKENS, current_batch
from paceline.model.dropout import keep_mask
from paceline.model.lora_weights import EMBEDDING, HEAD, LinearGroup, LoRAWeights
from paceline.model.products import product
from paceline.model.quantization import is_quantized
from paceline.model.segment import Segment
from paceline.model.token_rows import EmbeddingRows, HeadCopy, HeadRows


def find_ends(model: PreTrainedModel) -> list[LinearGroup]:
    """The output projection and the embeddings as groups of one, where they are plain modules of torch."""
    names = {module: name for name, module in model.named_modules()}
    found = []
    head: Any = model.get_output_embeddings()
    if isinstance(head, nn.Linear) and not is_quantized(head):
        found.append(LinearGroup(HEAD, (names[head],), (head,)))
    embedding: Any = model.get_input_embeddings()
    if isinstance(embedding, nn.Embedding) and not is_quantized(embedding):
        linear = nn.Linear(embedding.num_embeddings, embedding.embedding_dim, bias=False, device="meta")
        linear.weight = nn.Parameter(embedding.weight.detach().t(), requires_grad=False)
        found.append(LinearGroup(EMBEDDING, (names[embedding],), (linear,)))
    return found


def has_tied_ends(model: PreTrainedModel) -> bool:
    """Whether embeddings and output projection are one weight."""
    head: Any = model.get_output_embeddings()
    embedding: Any = model.get_input_embeddings()
    return head is not None and embedding is not None and head.weight is embedding.weight


class EmbeddingLoRA(torch.autograd.Function):
    """out + f s A[:, id]' B' for the rows of adapters that target the embeddings.

    f is the factor that some models' embeddings have (Gemma); `padding` is the id whose column of A gets no
    gradient, as in torch's embedding.
    """

    @staticmethod
    def forward(
        ctx: Any,
        out: Tensor,
        grad_sentinel: Tensor,
        ids: Tensor,
        slices: list[tuple[slice, LoRAWeights]],
        factor: float,
        padding: int | None,
    ) -> Tensor:
        result = out.clone()
        for rows, weights in slices:
            low = _many(weights.a.t()[ids[0, rows]])
            moved = (low @ weights.b[0].t())[: rows.stop - rows.start]
            result[0, rows] += (moved * (weights.scales[0] * factor)).to(out.dtype)
        ctx.save_for_backward(ids)
        ctx.slices, ctx.factor, ctx.padding = slices, factor, padding
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:
        (ids,) = ctx.saved_tensors
        for rows, weights in ctx.slices:
            own, scale = ids[0, rows], weights.scales[0] * ctx.factor
            flat = grad[0, rows].to(weights.a.dtype)
            weights.b_grad[0].addmm_(flat.t(), weights.a.t()[own], alpha=scale)
            dlow = (flat @ weights.b[0]).mul_(scale)
            if ctx.padding is not None:
                dlow.mul_((own != ctx.padding)[:, None])
            weights.a_grad.index_add_(1, own, dlow.t())
        return None, None, None, None, None, None


def embedding_forwards(model: PreTrainedModel) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """A forward for the embeddings with what the adapters of the current batch have for them."""
    module: Any = model.get_input_embeddings()
    grad_sentinel = torch.zeros(0, requires_grad=True)

    def forward(ids: Tensor) -> Tensor:
        out: Tensor = type(module).forward(module, ids)
        batch = current_batch()
        pairs = [(slice(s.start, s.stop), s.adapter) for s in batch.segments if s.adapter] if batch else []
        lora = [(own, adapter.weights[EMBEDDING]) for own, adapter in pairs if EMBEDDING in adapter.weights]
        rows = [(own, adapter.rows[EMBEDDING]) for own, adapter in pairs if EMBEDDING in adapter.rows]
        if not lora and not rows:
            return out
        factor = float(getattr(module, "embed_scale", 1.0))
        if lora:
            out = EmbeddingLoRA.apply(out, grad_sentinel, ids, lora, factor, module.padding_idx)  # type: ignore[no-untyped-call]
        if rows:
            out = EmbeddingRows.apply(out, grad_sentinel, ids, rows, factor, module.padding_idx)  # type: ignore[no-untyped-call]
        return out

    if isinstance(module, nn.Embedding):
        yield module, forward


def changes_head(segment: Segment) -> bool:
    """Whether a segment's adapter has anything on the output projection."""
    adapter = segment.adapter
    return adapter is not None and (HEAD in adapter.weights or HEAD in adapter.rows)


class HeadLoRA:
    """What a segment's adapter adds to the logits of its supervised rows: s (keep * x) A' B'."""

    def __init__(self, segment: Segment, rows: Tensor, numbers: Tensor | None) -> None:
        assert segment.adapter is not None
        self._own = own = segment.adapter.weights[HEAD]
        self._factor: Tensor | None = None
        width, p = own.a.shape[1], segment.adapter.dropout
        self._inputs = rows[:, :width]
        if segment.dropout_key is not None and p > 0:
            keep = keep_mask((*segment.dropout_key, HEAD), len(rows), width, p, rows.device, numbers)
            self._factor = keep.to(rows.dtype) / (1 - p)
            self._inputs = self._inputs * self._factor
        self._b = own.b[0].to(rows.dtype)
        self._low = (self._inputs @ own.a.to(rows.dtype).t()) * own.scales[0]

    def add(self, logits: Tensor, chunk: slice) -> None:
        """Adds the product of a chunk's rows to its logits."""
        logits.add_(product(self._low[chunk], self._b.t()))

    def backward(self, slope: Tensor, chunk: slice, gradient: Tensor) -> None:
        """Adds to the gradients of A and B, and to the chunk's `gradient` (rows, hidden size or more).

        `slope` is d(loss)/d(logits).
        """
        own, slope = self._own, slope.to(self._b.dtype)
        own.b_grad[0].add_(product(slope.t(), self._low[chunk]))
        dlow = (slope @ self._b) * own.scales[0]
        own.a_grad.add_(product(dlow.t(), self._inputs[chunk]))
        moved = dlow @ own.a.to(dlow.dtype)
        if self._factor is not None:
            moved = moved * self._factor[chunk]
        gradient[:, : moved.shape[1]] += moved


def head_weight(segment: Segment, weight: Tensor) -> Tensor:
    """The output projection that a segment's logits come from: the base's `weight`, or its adapter's copy."""
    own = segment.adapter.rows.get(HEAD) if segment.adapter is not None else None
    return weight if own is None or own.ids is not None else own.values.to(weight.dtype)


def head_change(
    segment: Segment, rows: Tensor, numbers: Tensor | None
) -> HeadLoRA | HeadRows | HeadCopy | None:
    """What the segment's adapter changes in the logits of rows (n, hidden size or more); None: nothing.

    `numbers` (n,) are the rows' numbers, where dropout needs them.
    """
    if segment.adapter is None:
        return None
    if HEAD in segment.adapter.weights:
        return HeadLoRA(segment, rows, numbers)
    own = segment.adapter.rows.get(HEAD)
    if own is None:
        return None
    return HeadCopy(own, rows) if own.ids is None else HeadRows(own, rows)


def change_logits(adapter: Adapter | None, rows: Tensor, logits: Tensor) -> None:
    """Changes logits (n, vocabulary) of rows as an adapter on the output projection does.

    A row's bits do not depend on the others: at least MIN_TOKENS are multiplied.
    """
    if adapter is None:
        return
    if HEAD in adapter.weights:
        own = adapter.weights[HEAD]
        low = _many(rows[:, : own.a.shape[1]]) @ own.a.to(rows.dtype).t()
        moved = (low * own.scales[0]) @ own.b[0].to(rows.dtype).t()
        logits.add_(moved[: len(rows)].to(logits.dtype))
    if HEAD in adapter.rows:
        trained = adapter.rows[HEAD]
        own_logits = _many(rows[:, : trained.values.shape[1]]) @ trained.values.to(rows.dtype).t()
        own_logits = own_logits[: len(rows)].to(logits.dtype)
        logits[:, slice(None) if trained.ids is None else trained.ids] = own_logits


def _many(rows: Tensor) -> Tensor:
    """The rows, and zeros up to MIN_TOKENS."""
    return F.pad(rows, (0, 0, 0, max(0, MIN_TOKENS - len(rows))))
