"""One optimizer a run, over its one flat buffer."""

from typing import Any

import torch
from torch import Tensor

from paceline.config.recipe import Recipe
from paceline.model.frozen import need_bitsandbytes


def make_optimizer(recipe: Recipe, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
    """AdamW as transformers sets it up: fused, or bitsandbytes' with blockwise 8-bit moments (arXiv:2110.02861)."""
    options: dict[str, Any] = {
        "lr": recipe.lr, "betas": (recipe.adam_beta1, recipe.adam_beta2), "eps": recipe.adam_epsilon, "weight_decay": recipe.weight_decay,
    }  # fmt: skip
    if recipe.optim == "adamw":
        return torch.optim.AdamW([parameter], fused=True, **options)
    need_bitsandbytes("optim: adamw8bit")
    import bitsandbytes.optim

    return bitsandbytes.optim.AdamW8bit([parameter], **options)  # type: ignore[no-any-return]


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors; empty before the first step."""
    state = optimizer.state_dict()["state"]
    return {name: torch.as_tensor(value).contiguous() for name, value in state[0].items()} if state else {}


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what `moments` gave."""
    if tensors:
        # bitsandbytes counts its steps in a plain int
        state = {name: int(value) if value.dtype == torch.int64 else value for name, value in tensors.items()}
        optimizer.load_state_dict({"state": {0: state}, "param_groups": optimizer.state_dict()["param_groups"]})
