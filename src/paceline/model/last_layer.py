"""After the last attention only supervised positions matter: the last layer's remaining work is done for them alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paceline.model.batch import current_batch, use_batch


def skip_unread_rows(model: PreTrainedModel) -> None:
    """Makes the last layer's output projection and MLP skip rows that no loss reads; those rows' final hidden states mean nothing.

    For models whose layers are named as Llama's are; others are left as they are.
    """
    layers = getattr(model.base_model, "layers", None)
    last = layers[-1] if isinstance(layers, nn.ModuleList) else None
    parts = [getattr(getattr(last, "self_attn", None), "o_proj", None), getattr(last, "mlp", None)]
    if any(not isinstance(part, nn.Module) for part in parts):
        return
    for part in parts:
        part.forward = _on_kept_rows(part.forward)  # type: ignore[union-attr]


def _on_kept_rows(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def trimmed(x: Tensor) -> Tensor:
        batch = current_batch()
        if batch is None:
            return forward(x)
        with use_batch(batch.loss_rows.batch):
            out = forward(x.index_select(1, batch.loss_rows.rows))
        return torch.zeros(*x.shape[:-1], out.shape[-1], dtype=out.dtype, device=out.device).index_copy(
            1, batch.loss_rows.rows, out
        )

    return trimmed
