"""Norms of an adapter: how far each kind of module and each layer has moved."""

import math
from collections.abc import Sequence

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
    squares = _squares(adapter)
    kinds: dict[str, list[float]] = {}
    layers: dict[str, list[float]] = {}
    for name, (a, b, update) in zip(adapter.matrices, squares, strict=True):
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


def _squares(adapter: Adapter) -> list[list[float]]:
    """Squared norms of each linear's A, B and product, without what the start takes out of the base.

    Linears of one shape together: a GPU's kernels are launched for each shape, not for each linear.
    """
    names = list(adapter.matrices)
    alike: dict[tuple[torch.Size, torch.Size], list[int]] = {}
    for place, name in enumerate(names):
        a, b = adapter.matrices[name]
        alike.setdefault((a.shape, b.shape), []).append(place)
    found = []
    for places in alike.values():
        own = [adapter.matrices[names[place]] for place in places]
        whole = [adapter.product(names[place]) for place in places]
        (a, b), plain = _stacked(own), whole[0][0] is own[0][0]
        whole_a, whole_b = (a, b) if plain else _stacked(whole)
        gram_a, gram_b = whole_a @ whole_a.mT, whole_b.mT @ whole_b
        norms = [torch.linalg.vector_norm(half, dim=(1, 2)).square() for half in (a, b)]
        found.append(torch.stack([*norms, (gram_a * gram_b).sum((1, 2))], dim=1))
    order = [place for places in alike.values() for place in places]
    read = torch.cat(found).cpu().double().tolist()
    return [row for _, row in sorted(zip(order, read, strict=True))]


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])


def _layer(name: str) -> str:
    return next((part for part in name.split(".") if part.isdigit()), "")
