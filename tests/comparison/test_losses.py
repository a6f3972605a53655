"""Which held-out examples of two runs are compared."""

from dataclasses import replace

import numpy as np
import pytest

from losses import example_losses
from paceline.comparison.losses import loss_difference, matching_examples
from paceline.errors import RunError


def test_only_shared_examples_that_were_truncated_alike_are_compared() -> None:
    run = example_losses([1.0, 2.0, 3.0, 4.0], tokens=[10, 10, 10, 10], rows=[1, 2, 3, 4])
    other = example_losses([2.0, 3.0, 4.0], tokens=[10, 10, 5], rows=[2, 3, 4])
    difference = loss_difference(run, other)
    assert (difference.n, difference.left_out, difference.delta) == (2, 3, 0.0)
    with pytest.raises(RunError, match="no held-out example in common"):
        loss_difference(run, example_losses([1.0], rows=[9]))


def test_only_examples_with_the_same_answers_are_compared() -> None:
    """Two bases' tokenizers, or two columns, may give as many tokens of other kinds."""
    one = example_losses([1.0, 2.0, 3.0])
    other = replace(one, answer=np.asarray([10, 11, 10]))
    assert [place.tolist() for place in matching_examples(one, other)] == [[0, 2], [0, 2]]


def test_the_order_of_the_examples_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    values, tokens = rng.gamma(2, 3, 50), rng.integers(1, 30, 50)
    run, other = example_losses(values, tokens), example_losses(values + 1, tokens)
    order = rng.permutation(50)
    shuffled = example_losses((values + 1)[order], tokens[order], rows=order)
    assert loss_difference(run, shuffled) == loss_difference(run, other)
    mine, theirs = matching_examples(run, shuffled)
    assert (run.row[mine] == shuffled.row[theirs]).all()
    assert len(mine) == 50


def test_examples_of_one_row_are_matched_in_their_order() -> None:
    run = example_losses([1.0, 2.0, 4.0], tokens=[10, 10, 10], rows=[1, 1, 1])
    other = example_losses([1.0, 2.0, 4.0], tokens=[10, 10, 10], rows=[1, 1, 1])
    assert [index.tolist() for index in matching_examples(run, other)] == [[0, 1, 2], [0, 1, 2]]
    assert loss_difference(run, other).n == 3


def test_rows_of_two_sources_are_not_mistaken_for_one_another() -> None:
    run, other = example_losses([1.0], source="a"), example_losses([1.0], source="b")
    assert not len(matching_examples(run, other)[0])


def test_runs_whose_losses_differ_on_every_example_differ() -> None:
    run, other = example_losses([1.0, 1.1, 1.0]), example_losses([2.0, 2.2, 2.1])
    assert loss_difference(run, other).verdict == "differ"
