"""A base larger than one device: its layers are spread over all processes (FSDP2)."""

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from paceline.errors import ModelError
from paceline.model.base import Base
from paceline.model.quantization import is_quantized


def shard(base: Base, size: int, device: torch.device) -> None:
    """Spreads the layers' frozen weights over the processes' devices; embeddings and output projection are
    whole on each.

    Layer by layer: where the base was loaded for the CPU, no device ever holds more than its share.

    Raises:
        ModelError: a model whose layers are not named as Llama's are, or a quantized one.
    """
    layers = getattr(base.model.base_model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ModelError(f"base {base.name!r}: no list of layers to spread; train it without --shard-base")
    if any(is_quantized(module) for module in layers.modules()):
        raise ModelError(f"base {base.name!r} is quantized; --shard-base spreads unquantized bases only")
    base.weight_norms  # noqa: B018 - needs the whole weights, once
    mesh = init_device_mesh(device.type, (size,))
    for layer in layers:
        # said for each: FSDP2 takes every layer for a root of its own, and roots stay whole by default
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    base.model.to(device)
    base.__dict__.pop("ends", None)  # those known so far hold the embeddings where they were
    base.head, base.device, base.sharded = base.head.to(device), device, True
