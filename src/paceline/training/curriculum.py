"""What an epoch's examples are sorted by."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.data.phases import phase_numbers
from paceline.errors import TrainingError
from paceline.runs.losses import ExampleLosses
from paceline.training.prepare import Prepared


def order_key(prepared: Prepared, base_losses: Callable[[], ExampleLosses]) -> NDArray[Any] | None:
    """What `order` sorts the training examples by: their phase, length, or mean loss under the bare base."""
    dataset, train = prepared.dataset, prepared.split.train
    if prepared.recipe.order == "phases":
        return phase_numbers(dataset.tasks(train), prepared.recipe.phases)
    if prepared.recipe.order == "length":
        return np.minimum(dataset.lengths[train], prepared.recipe.max_length)
    if prepared.recipe.order == "base-loss":
        losses = base_losses()
        if len(losses.loss) != len(train):
            raise TrainingError(
                "order base-loss: the stored losses of the base belong to other training examples; "
                "delete the run's directory"
            )
        return losses.loss / losses.tokens
    return None
