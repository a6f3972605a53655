"""One optimizer a run, over its one flat buffer."""

from typing import Any

import torch
from torch import Tensor

from paceline.config.recipe import Recipe


def make_optimizer(recipe: Recipe, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
    """AdamW as in transformers: fused, or bitsandbytes' with blockwise 8-bit moments (arXiv:2110.02861)."""
    options: dict[str, Any] = {
        "lr": recipe.lr,
        "betas": (recipe.adam_beta1, recipe.adam_beta2),
        "eps": recipe.adam_epsilon,
        "weight_decay": recipe.weight_decay,
    }
    if recipe.optim == "adamw":
        return torch.optim.AdamW([parameter], fused=True, **options)
    import bitsandbytes.optim

    return bitsandbytes.optim.AdamW8bit([parameter], **options)  # type: ignore[no-any-return]


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors; empty before the first step."""
    return {
        name: torch.as_tensor(value).contiguous()
        for state in optimizer.state.values()
        for name, value in state.items()
    }


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what `moments` gave."""
    if tensors:
        (parameter,) = optimizer.param_groups[0]["params"]
        # bitsandbytes counts its steps in a plain int
        optimizer.state[parameter] = {
            name: int(value)
            if value.dtype == torch.int64
            else value.to(parameter.device if value.dim() else "cpu")
            for name, value in tensors.items()
        }
