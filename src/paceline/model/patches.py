"""Every change that Paceline makes to a transformers model, in one place, with the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from paceline.model import attention
from paceline.model.activations import activation_forwards
from paceline.model.ends import embedding_forwards
from paceline.model.fused_layers import layer_forwards
from paceline.model.last_layer import last_layer_forwards
from paceline.model.lora import group_forwards
from paceline.model.lora_weights import LinearGroup
from paceline.model.norm import norm_forwards

# A module and the forward that replaces its own.
Forward = tuple[nn.Module, Callable[..., Any]]
# A module and the forward that stood on it before; None: its class's.
Original = tuple[nn.Module, Callable[..., Any] | None]


class Patches:
    """The replaced forwards of one model. `install` puts them in, `remove` leaves the model as it came."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._attention: str | None = None
        self._replaced: list[Original] = []
        self._checkpointed: list[Original] = []

    def install_attention(self) -> None:
        """Attention inside each sequence of a packed batch."""
        self._attention = self._model.config._attn_implementation
        attention.register()
        self._model.set_attn_implementation(attention.NAME)

    def install(self, groups: Iterable[LinearGroup]) -> None:
        """Fused norms and layers, a node for each group of linears, a last layer without rows no loss reads.

        And activations whose bits in a row depend on no other row.

        Each replacement is made from the forward that stands before it, so the order is that of this
        function.
        """
        _replace(norm_forwards(self._model), self._replaced)
        _replace(activation_forwards(self._model), self._replaced)
        for group in groups:
            _replace(group_forwards(group), self._replaced)
        _replace(layer_forwards(self._model), self._replaced)
        _replace(last_layer_forwards(self._model), self._replaced)
        _replace(embedding_forwards(self._model), self._replaced)

    def checkpoint_layers(self, on: bool) -> None:
        """Recompute each layer in the backward pass in place of keeping its activations.

        The result has the same bits.
        """
        _restore(self._checkpointed)
        layers = getattr(self._model.base_model, "layers", None)
        for layer in layers if on and isinstance(layers, nn.ModuleList) else ():
            again = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
            _replace([(layer, again)], self._checkpointed)

    def remove(self) -> None:
        """Takes everything out again; a second call does nothing."""
        _restore(self._checkpointed)
        _restore(self._replaced)
        if self._attention is not None:
            self._model.set_attn_implementation(self._attention)
            self._attention = None


def _replace(forwards: Iterable[Forward], originals: list[Original]) -> None:
    for module, forward in forwards:
        originals.append((module, module.__dict__.get("forward")))
        module.forward = forward


def _restore(originals: list[Original]) -> None:
    """Puts the originals back, the last one first, and forgets them."""
    while originals:
        module, forward = originals.pop()
        del module.__dict__["forward"]
        if forward is not None:
            module.forward = forward
