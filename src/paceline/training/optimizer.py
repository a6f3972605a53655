"""One optimizer a run, over its one flat buffer, or with LoRA+ over the blocks of it."""

from typing import Any

import torch
from torch import Tensor

from paceline.config.recipe import Recipe
from paceline.model.adapter import Adapter


def make_optimizer(recipe: Recipe, adapter: Adapter) -> torch.optim.Optimizer:
    """AdamW as in transformers: fused, or bitsandbytes' with blockwise 8-bit moments (arXiv:2110.02861).

    With LoRA+ (arXiv:2402.12354) the blocks of B, and DoRA's magnitudes, form a group of their own.
    """
    options: dict[str, Any] = {
        "lr": recipe.lr,
        "betas": (recipe.adam_beta1, recipe.adam_beta2),
        "eps": recipe.adam_epsilon,
        "weight_decay": recipe.weight_decay,
    }
    groups = _groups(recipe.loraplus_lr_ratio, adapter)
    if recipe.optim == "adamw":
        return torch.optim.AdamW(groups, fused=True, **options)
    import bitsandbytes.optim

    return bitsandbytes.optim.AdamW8bit(groups, **options)  # type: ignore[no-any-return]


def _groups(ratio: float | None, adapter: Adapter) -> list[dict[str, Any]]:
    """The adapter's whole buffer at once; with LoRA+ block by block, since each has its own rate."""
    if ratio is None:
        return [{"params": [_parameter(adapter.parameters, adapter.gradients)], "lr_ratio": 1.0}]
    blocks = list(adapter.halves())
    return [
        {"params": [_parameter(value, grad) for value, grad, is_b in blocks if is_b == of_b], "lr_ratio": own}
        for of_b, own in ((False, 1.0), (True, ratio))
    ]


def _parameter(value: Tensor, gradient: Tensor) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(value)
    parameter.grad = gradient
    return parameter


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the rate of the next step: `lr` times each group's own ratio."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_ratio", 1.0)


def moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors on the CPU; empty before the first step."""
    return {
        f"{prefix}{name}": torch.as_tensor(value).cpu().contiguous()
        for prefix, parameter in _named(optimizer)
        for name, value in optimizer.state.get(parameter, {}).items()
    }


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what `moments` gave.

    Raises:
        ValueError: moments of another shape or type than the weights', which a kernel would read beyond.
    """
    for prefix, parameter in _named(optimizer) if tensors else ():
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        _check_moments(optimizer, parameter, own)
        # bitsandbytes counts its steps in a plain int
        optimizer.state[parameter] = {
            name: int(value)
            if value.dtype == torch.int64
            else value.to(parameter.device)  # the fused kernel reads the step where the weights are
            for name, value in own.items()
        }


def _check_moments(
    optimizer: torch.optim.Optimizer, parameter: torch.nn.Parameter, own: dict[str, Tensor]
) -> None:
    fused = isinstance(optimizer, torch.optim.AdamW)
    names = {"step", "exp_avg", "exp_avg_sq"} if fused else {"step", "state1", "state2"}
    if missing := names - set(own):
        raise ValueError(f"no moments of this optimizer ({min(missing)} is missing)")
    for name in names - {"step"}:
        if own[name].shape != parameter.shape or (fused and own[name].dtype != parameter.dtype):
            raise ValueError(
                f"{name} is {tuple(own[name].shape)} of {own[name].dtype}, the weights are "
                f"{tuple(parameter.shape)} of {parameter.dtype}"
            )
    if own["step"].numel() != 1:
        raise ValueError(f"step is {tuple(own['step'].shape)}, not one number")


def _named(optimizer: torch.optim.Optimizer) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters with what their moments' names begin with; a single one's begin with nothing."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if len(parameters) == 1:
        return [("", parameters[0])]
    return [(f"{number}.", parameter) for number, parameter in enumerate(parameters)]
