"""Studies on the embedded base that train in seconds."""

from typing import Any

import paceline

DATA = {"source": "embedded:rust", "n": 60, "eval_ratio": 0.25}


def tiny_recipe(**fields: Any) -> Any:
    """Four steps on the embedded base."""
    common = {
        "base": "embedded",
        "data": DATA,
        "max_steps": 4,
        "lr": 1e-3,
        "logging_steps": 2,
        "batch_size": 4,
    }
    return paceline.Recipe(**{**common, "grad_accum": 1, **fields})


def tiny_study(**fields: Any) -> Any:
    """Two learning rates, and what the second is to show."""
    return paceline.Study(
        name="rates",
        objective="which rate learns more",
        runs=[
            paceline.Run(name="low", recipe=tiny_recipe(**fields)),
            paceline.Run(name="high", hypothesis="<b>more</b>", recipe=tiny_recipe(**fields, lr=4e-3)),
        ],
    )
