"""After the last attention only supervised positions matter: the last layer works on them alone."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paceline.model.batch import current_batch, use_batch


def last_layer_forwards(model: PreTrainedModel) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Forwards of the last layer's output projection and MLP that skip the rows that no loss reads.

    The final hidden states of skipped rows mean nothing. For models whose layers are named as Llama's are; of
    others nothing is replaced.
    """
    layers = getattr(model.base_model, "layers", None)
    last = layers[-1] if isinstance(layers, nn.ModuleList) else None
    modules = [getattr(getattr(last, "self_attn", None), "o_proj", None), getattr(last, "mlp", None)]
    if all(isinstance(module, nn.Module) for module in modules):
        for module in modules:
            yield module, _on_loss_rows(module.forward)  # type: ignore[misc, union-attr]


def _on_loss_rows(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def on_loss_rows(x: Tensor) -> Tensor:
        batch = current_batch()
        if batch is None:
            return forward(x)
        kept = batch.loss_rows
        if batch.generation is not None and len(kept.rows) == x.shape[1]:  # as where all have one new token
            return forward(x)
        with use_batch(kept.batch, within=batch):
            out = forward(x.index_select(1, kept.rows))
        blank = torch.zeros(*x.shape[:-1], out.shape[-1], dtype=out.dtype, device=out.device)
        return blank.index_copy(1, kept.rows, out)

    return on_loss_rows
