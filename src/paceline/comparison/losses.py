"""Held-out losses of two runs, example by example."""

from collections import Counter
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from paceline.errors import RunError
from paceline.runs.losses import ExampleLosses
from paceline.stats.paired import Difference, paired_difference

Keys = NDArray[np.str_]


def loss_difference(run: ExampleLosses, other: ExampleLosses) -> Difference:
    """Paired difference of the mean losses over the examples that both runs hold out, in nats a token.

    Means are over tokens; examples are the units, since tokens of one example depend on each other.

    Raises:
        RunError: the two runs have no held-out example in common.
    """
    mine, theirs = matching_examples(run, other)
    if len(mine) == 0:
        raise RunError(
            "the runs have no held-out example in common; they were trained on different data or splits "
            "and cannot be compared"
        )
    return paired_difference(
        run.loss[mine],
        other.loss[theirs],
        run.tokens[mine],
        better="lower",
        left_out=len(run.row) + len(other.row) - 2 * len(mine),
    )


def matching_examples(
    run: ExampleLosses, other: ExampleLosses
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices, into each run's examples, of those that both hold out with the same supervised tokens."""
    keys = example_keys(run), example_keys(other)
    _, left, right = np.intersect1d(*keys, assume_unique=True, return_indices=True)
    return left, right


def example_keys(losses: ExampleLosses) -> Keys:
    """A name for each example (examples,) by what makes it the same in two runs.

    That is its row, and the tokens that are supervised. Examples of one row with the same answer are told
    apart by their order. Runs with the same examples get the same array.
    """
    return _keys(tuple(losses.row.tolist()), tuple(losses.answer.tolist()), tuple(losses.source))


@lru_cache(maxsize=64)
def _keys(rows: tuple[int, ...], answers: tuple[int, ...], sources: tuple[str, ...]) -> Keys:
    seen: Counter[str] = Counter()
    keys = []
    for row, answer, source in zip(rows, answers, sources, strict=True):
        key = f"{row} {answer} {source}"
        keys.append(f"{seen[key]} {key}")
        seen[key] += 1
    return np.asarray(keys, dtype=np.str_)
