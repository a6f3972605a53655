"""Which examples train and which are held out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.data.tokens import TokenDataset
from paceline.errors import DataError


@dataclass(frozen=True)
class Split:
    """Indices into a TokenDataset, int64, each side in the order of the sample.

    Shapes: (train examples,) and (eval examples,).
    """

    train: NDArray[np.int64]
    eval: NDArray[np.int64]


def split(dataset: TokenDataset, eval_ratio: float, max_length: int) -> Split:
    """Holds out every 1/eval_ratio-th distinct row of each part of the sample; copies go with the first.

    A row may give several examples; they stay together. One of them may be another row's too, where a
    conversation begins another one: held out, it trains nowhere.

    The place of an example in its part's sample decides, so a smaller sample's held-out examples are among
    a larger one's and never among its training examples: runs on 5,000 and on 20,000 rows of one source, or
    with and without a second part, can be compared. Examples whose whole answer lies beyond max_length are
    on neither side.

    Raises:
        DataError: one side would be empty.
    """
    held_out = np.zeros(len(dataset), dtype=bool)
    order, starts = _copies(dataset.column("group"))
    first = order[starts]
    for part in np.flatnonzero(np.bincount(dataset.parts)):
        mine = np.sort(first[dataset.parts[first] == part])
        held_out[mine] = np.diff(np.floor(np.arange(len(mine) + 1) * eval_ratio + 1e-9)) > 0
    held_out[order] = np.repeat(held_out[first], np.diff(starts, append=len(order)))
    if held_out.all() or not held_out.any():
        raise DataError(
            f"{len(dataset)} rows with {len(first)} distinct examples cannot be split "
            f"at eval_ratio {eval_ratio}: one side is empty"
        )
    usable = dataset.first < max_length
    examples = dataset.column("digest")
    copied = np.isin(examples, examples[held_out])
    parts = Split(np.flatnonzero(~copied & usable), np.flatnonzero(held_out & usable))
    if not len(parts.train) or not len(parts.eval):
        raise DataError(
            f"no example keeps a supervised token within max_length {max_length} on one side of the split; "
            "raise it with --max-length"
        )
    return parts


def _copies(group: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(examples with copies side by side, the first one first (examples,); where others begin in that order).

    np.unique with its inverse says the same in twice the memory.
    """
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    return order, np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
