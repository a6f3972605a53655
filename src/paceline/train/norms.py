"""Figures and alerts for a person who wonders whether a run learns."""

import math
from typing import Any

import torch
from torch import Tensor

from paceline.model.adapter import Adapter
from paceline.train.checkpoint import Progress


@torch.no_grad()
def adapter_norms(adapter: Adapter, weight_norms: dict[str, float]) -> dict[str, Any]:
    """Frobenius norms of A, B and of the update s·B·A against W: for each kind of module over all layers, and the update for each layer.

    ‖BA‖² = tr(BᵀB · AAᵀ), so nothing larger than r x r is made.
    """
    squares = torch.stack([_squares(a, b) for a, b in adapter.matrices.values()]).cpu().double()
    kinds: dict[str, list[float]] = {}
    layers: dict[str, list[float]] = {}
    for name, (a, b, update) in zip(adapter.matrices, squares.tolist(), strict=True):
        weight = weight_norms[name] ** 2
        values = (a, b, max(update, 0.0) * adapter.scale**2, weight)
        for table, key in ((kinds, name.rsplit(".", 1)[-1]), (layers, _layer(name))):
            table[key] = [x + y for x, y in zip(table.get(key, [0.0] * 4), values, strict=True)]
    return {
        "modules": {
            key: {"a": math.sqrt(a), "b": math.sqrt(b), "update": math.sqrt(u / w)}
            for key, (a, b, u, w) in kinds.items()
        },
        "layers": {key: math.sqrt(u / w) for key, (_, _, u, w) in layers.items()},
    }


def _squares(a: Tensor, b: Tensor) -> Tensor:
    grams = a @ a.t(), b.t() @ b
    return torch.stack([grams[0].trace(), grams[1].trace(), (grams[0] * grams[1]).sum()])


def _layer(name: str) -> str:
    return next((part for part in name.split(".") if part.isdigit()), "")


def step_alerts(progress: Progress, loss: float, grad_norm: float) -> list[dict[str, Any]]:
    """What is wrong with an optimizer step; a gradient of zero is told once, when it begins."""
    found = []
    if not math.isfinite(loss) or not math.isfinite(grad_norm):
        found.append({"rule": "not-finite", "message": f"loss {loss}, gradient norm {grad_norm}"})
    if grad_norm == 0.0 and not progress.zero_gradient:
        found.append(
            {"rule": "zero-gradient", "message": "the gradient norm is exactly 0.0: nothing is learned"}
        )
    progress.zero_gradient = grad_norm == 0.0
    return found


def eval_alerts(progress: Progress, loss: float) -> list[dict[str, Any]]:
    """What is wrong with an evaluation on the way."""
    same = progress.last_eval == loss
    progress.last_eval = loss
    return (
        [{"rule": "same-eval", "message": f"eval loss {loss} repeats the last one to the last digit"}]
        if same
        else []
    )
