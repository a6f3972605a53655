"""The table of a study: a verdict, not a number."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losses import example_losses
from paceline.comparison.table import compare, read_losses
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.files import write_json
from paceline.runs.losses import ExampleLosses


@pytest.fixture
def finished(tmp_path: Path) -> Any:
    def make(name: Any, values: Any, **fields: Any) -> Any:
        directory = RunDirectory(tmp_path / name)
        directory.eval.mkdir(parents=True)
        example_losses(values, **fields).save(directory.eval / "final.parquet")
        example_losses(np.full(len(values), 50.0), **fields).save(directory.eval / "base.parquet")
        write_json(
            directory.path / "status.json", {"state": "finished", "step": 1, "tokens": 2, "seconds": 3.0}
        )
        return directory

    return make


def test_a_winner_is_named_only_where_it_beats_the_runner_up(finished: Any) -> None:
    rng = np.random.default_rng(2)
    hard = rng.gamma(2.0, 5.0, 400)
    baseline = finished("baseline", hard)
    good, twin = (finished(name, hard - 1 + rng.normal(0, 0.3, 400)) for name in ("good", "twin"))
    clear = finished("clear", hard - 2 + rng.normal(0, 0.3, 400))
    tied = compare([baseline, good, twin])
    assert sorted(tied.best) == ["good", "twin"]
    assert tied.conclusion().startswith("No single winner")
    won = compare([baseline, good, twin, clear])
    assert won.best == ["clear"]
    verdicts = [row.difference and row.difference.verdict for row in won.rows]
    assert verdicts == [None, "better", "better", "better"]
    assert {name: d.verdict for name, d in won.from_best.items()} == dict.fromkeys(
        ("baseline", "good", "twin"), "worse"
    )


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([50.0, 50.0, 50.0], "a does not change the held-out loss (5.0000)."),
        (
            [48.0, 48.5, 47.5],
            "a lowers the base's held-out loss from 5.0000 to 4.8000 (-0.2000, 95% from -0.",
        ),
        (
            [52.0, 51.5, 52.5],
            "a raises the base's held-out loss from 5.0000 to 5.2000 (+0.2000, 95% from +0.",
        ),
        (
            [50.1, 50.1, 49.8],
            "a does not measurably change the base's held-out loss, from 5.0000 to 5.0000 (",
        ),
        (
            [10.0],
            "a does not measurably change the base's held-out loss, from 5.0000 to 1.0000 (-4.0000, 95% ",
        ),
    ],
)
def test_a_single_run_is_said_to_do_what_its_interval_says(finished: Any, losses: Any, said: str) -> None:
    assert compare([finished("a", losses)]).conclusion().startswith(said)


def test_runs_without_result_are_listed_and_none_at_all_is_refused(finished: Any, tmp_path: Path) -> None:
    waiting = RunDirectory(tmp_path / "waiting")
    assert compare([finished("a", [1.0, 2.0]), waiting]).missing == {"waiting": "new"}
    with pytest.raises(RunError, match=r"no finished run to compare \(waiting: new\)"):
        compare([waiting])


def test_a_run_that_shares_no_example_has_no_difference_and_cannot_win(finished: Any) -> None:
    comparison = compare([finished("a", [5.0, 6.0]), finished("b", [1.0, 2.0], rows=[7, 8])])
    assert comparison.best == ["a"]
    assert comparison.rows[1].difference is None
    assert comparison.from_best == {}


def test_losses_that_a_caller_has_read_are_not_read_again(
    finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories = [finished("a", [5.0, 6.0]), finished("b", [1.0, 2.0])]
    losses = read_losses(directories)
    read, files = ExampleLosses.read, []

    def counting(path: Any) -> Any:
        files.append(path.name)
        return read(path)

    monkeypatch.setattr(ExampleLosses, "read", counting)
    assert compare(directories, losses) == compare(directories)
    assert sorted(files) == ["base.parquet"] * 4 + ["final.parquet"] * 2
