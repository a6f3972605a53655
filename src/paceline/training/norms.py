"""Norms of an adapter: how far each kind of module and each layer has moved."""

import math

import torch
from torch import Tensor

from paceline.model.adapter import Adapter
from paceline.runs.events import AdapterNorms, ModuleNorms


@torch.no_grad()
def adapter_norms(adapter: Adapter, weight_norms: dict[str, float]) -> AdapterNorms:
    """Frobenius norms of A, B and of the update s·B·A against W, by kind of module and by layer.

    ‖BA‖² = tr(BᵀB · AAᵀ), so nothing larger than r x r is made.

    Args:
        weight_norms: the norm of each frozen weight, by the linear's name.
    """
    squares = torch.stack([_squares(adapter, name) for name in adapter.names]).cpu().double()
    kinds: dict[str, list[float]] = {}
    layers: dict[str, list[float]] = {}
    for name, (a, b, update) in zip(adapter.matrices, squares.tolist(), strict=True):
        weight = weight_norms[name] ** 2
        values = (a, b, max(update, 0.0) * adapter.scales[name] ** 2, weight)
        places = [(kinds, name.rsplit(".", 1)[-1])]
        if layer := _layer(name):  # embeddings and output projection are in none
            places.append((layers, layer))
        for table, key in places:
            table[key] = [x + y for x, y in zip(table.get(key, [0.0] * 4), values, strict=True)]
    modules = {
        kind: ModuleNorms(a=math.sqrt(a), b=math.sqrt(b), update=math.sqrt(update / weight))
        for kind, (a, b, update, weight) in kinds.items()
    }
    return AdapterNorms(
        modules=modules, layers={key: math.sqrt(u / w) for key, (_, _, u, w) in layers.items()}
    )


def _squares(adapter: Adapter, name: str) -> Tensor:
    """Squared norms of A, of B and of their product, without what the start takes out of the base."""
    (a, b), (whole_a, whole_b) = adapter.matrices[name], adapter.product(name)
    grams = whole_a @ whole_a.t(), whole_b.t() @ whole_b
    own = grams if whole_a is a else (a @ a.t(), b.t() @ b)
    return torch.stack([own[0].trace(), own[1].trace(), (grams[0] * grams[1]).sum()])


def _layer(name: str) -> str:
    return next((part for part in name.split(".") if part.isdigit()), "")
