"""The split holds out the same distinct examples for every run, and never shows one to both sides."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paceline.data.split import split


def dataset(digests: Any, parts: Any = None, groups: Any = None) -> Any:
    columns = {"digest": np.asarray(digests), "group": np.asarray(digests if groups is None else groups)}
    nothing = np.zeros(len(digests), dtype=np.int64)

    class Fake(SimpleNamespace):
        def __len__(self) -> Any:
            return len(digests)

    return Fake(
        column=columns.__getitem__, first=nothing, parts=nothing if parts is None else np.asarray(parts)
    )


def test_ten_thousand_rows_give_nine_thousand_and_one_thousand() -> None:
    parts = split(dataset(range(10_000)), 0.1, 100)
    assert (len(parts.train), len(parts.eval)) == (9000, 1000)


@given(st.lists(st.integers(0, 30), min_size=40, max_size=120), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
def test_copies_are_never_on_both_sides_and_nothing_is_lost(digests: Any, ratio: Any) -> None:
    digests = [*range(100, 130), *digests]
    parts = split(dataset(digests), ratio, 100)
    seen = np.asarray(digests)
    assert not set(seen[parts.train]) & set(seen[parts.eval])
    assert sorted([*parts.train, *parts.eval]) == list(range(len(digests)))


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=3), min_size=40, max_size=80))
def test_an_example_that_is_held_out_trains_in_no_other_row(rows: Any) -> None:
    rows = [*([number] for number in range(100, 130)), *rows]
    digests = [digest for row in rows for digest in row]
    groups = [number for number, row in enumerate(rows) for _ in row]
    parts = split(dataset(digests, groups=groups), 0.25, 100)
    for names in (np.asarray(digests), np.asarray(groups)):
        assert not set(names[parts.train]) & set(names[parts.eval])
    held_out = {digests[at] for at in parts.eval}
    left_out = set(range(len(digests))) - {*parts.train, *parts.eval}
    assert left_out == {at for at in range(len(digests)) if digests[at] in held_out} - set(parts.eval)


def test_a_beginning_that_all_rows_share_moves_no_row() -> None:
    """A greeting and its answer, which each conversation has as its first example."""
    digests = [digest for row in range(200) for digest in (0, row + 1)]
    parts = split(dataset(digests, groups=np.repeat(np.arange(200), 2)), 0.1, 100)
    assert (len(parts.eval), len(parts.train)) == (40, 180)


@given(st.integers(100, 400), st.integers(50, 99))
def test_a_smaller_sample_never_trains_on_what_a_larger_one_holds_out(large: Any, small: Any) -> None:
    whole, part = split(dataset(range(large)), 0.1, 100), split(dataset(range(small)), 0.1, 100)
    assert set(part.eval) <= set(whole.eval)
    assert set(part.train) <= set(whole.train)


def test_a_second_part_does_not_move_what_the_first_one_holds_out() -> None:
    alone = split(dataset(range(200)), 0.1, 100)
    mixed = split(dataset(range(260), [0] * 200 + [1] * 60), 0.1, 100)
    assert [i for i in mixed.eval if i < 200] == alone.eval.tolist()
    assert len(mixed.eval) == 26
