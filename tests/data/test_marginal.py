"""The loss of a model that knows the answers' frequencies and no prompt."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from paceline.data.marginal import marginal_loss


def dataset(*examples: tuple[list[int], list[int]]) -> Any:
    """(ids, mask) of each example."""
    made = [(np.asarray(ids, np.int32), np.asarray(mask, np.uint8)) for ids, mask in examples]
    return SimpleNamespace(examples=lambda indices: [made[index] for index in indices])


def labelled(answers: list[list[int]]) -> Any:
    """One prompt token of its own before each answer."""
    return dataset(*[([100 + i, *answer], [0] + [1] * len(answer)) for i, answer in enumerate(answers)])


def test_labels_are_counted_whole() -> None:
    """Half of the answers are (1, 2), half (3, 2): one bit over two tokens."""
    data = labelled([[1, 2], [3, 2]] * 50)
    found = marginal_loss(data, np.arange(80), np.arange(80, 100), 10)
    assert found == pytest.approx(math.log(2) / 2)


def test_other_answers_are_counted_by_token_as_cross_entropy_is() -> None:
    random = np.random.default_rng(0)
    answers = [random.integers(0, 6, 8).tolist() for _ in range(60)]
    data, train, held_out = labelled(answers), np.arange(50), np.arange(50, 60)
    counts = np.bincount(np.concatenate(answers[:50]), minlength=6) + 1.0
    logits = torch.log(torch.tensor(counts / counts.sum()))
    targets = torch.tensor(np.concatenate(answers[50:]))
    expected = cross_entropy(logits.expand(len(targets), 6), targets)
    assert marginal_loss(data, train, held_out, 20) == pytest.approx(expected.item())


def test_only_what_a_run_learns_counts() -> None:
    """Nothing beyond max_length, nothing masked, and not the first token, which nothing predicts."""
    data = dataset(*[([7, 1, 2, 9], [1, 1, 0, 1])] * 30)
    assert marginal_loss(data, np.arange(20), np.arange(20, 30), 3) == 0.0
    nothing = dataset(*[([7, 1], [1, 0])] * 30)
    assert marginal_loss(nothing, np.arange(20), np.arange(20, 30), 3) is None
