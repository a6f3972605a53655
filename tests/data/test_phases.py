"""Phases of a curriculum."""

import pytest

from paceline.data.phases import choose_tasks, phase_numbers
from paceline.errors import DataError

PHASES = {"easy": ["a", "b"], "hard": ["c"]}


def test_tasks_of_no_phase_come_last() -> None:
    assert phase_numbers(["c", "a", "x", "b"], PHASES).tolist() == [1, 0, 2, 0]


def test_tasks_are_chosen_by_name_or_by_phase() -> None:
    assert choose_tasks(["a", "b", "c", "x"], ["easy", "x"], PHASES).tolist() == [True, True, False, True]
    with pytest.raises(DataError, match="no task or phase 'hrad', did you mean 'hard'"):
        choose_tasks(["a"], ["hrad"], PHASES)
