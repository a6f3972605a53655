"""The adapter's own norms: which parts of it learn."""

from __future__ import annotations

import numpy as np

from paceline.doctor.finding import Finding
from paceline.doctor.logs.log import Log


def b_still_zero(log: Log) -> Finding | None:
    """B is zero in whole modules: they add nothing to the base.

    Computed: norms of B by kind of module in the last line; exactly zero after five lines.
    Try: remove these modules from target_modules, or find out why the loss does not reach them (`paceline
    check`).
    Source: LoRA starts with B = 0 (arXiv:2106.09685); any gradient moves it.
    """
    if log.norms is None or len(log) < 5:
        return None
    dead = [name for name, norms in log.norms.modules.items() if norms.b == 0.0]
    if not dead:
        return None
    return Finding(
        severity="error",
        message=f"B is still zero in {', '.join(dead)}",
        evidence={"modules": dead},
        advice="remove them from target_modules, or find what keeps the loss from them",
    )


def few_layers_learn(log: Log) -> Finding | None:
    """The update is concentrated in few layers; the others add next to nothing.

    Computed: the share of the summed squared relative update that the top tenth of the layers (at least
    one) holds, in models of at least four layers; over 80% is far from an even spread.
    Try: look at the layers named; lower the rate.
    Source: measured on the cases, where healthy runs stay under 30%.
    """
    if log.norms is None:
        return None
    layers = {name: value**2 for name, value in log.norms.layers.items()}
    total = sum(layers.values())
    if len(layers) < 4 or total == 0 or not np.isfinite(total):
        return None
    top = sorted(layers, key=lambda name: -layers[name])[: max(1, len(layers) // 10)]
    share = sum(layers[name] for name in top) / total
    if share <= 0.8:
        return None
    return Finding(
        severity="warning",
        message=f"{share:.0%} of the update is in layer {', '.join(top)}",
        evidence={"share": round(share, 3), "layers": top},
    )
