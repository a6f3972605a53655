"""A verdict, not a number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.compare.table import compare
from paceline.errors import PacelineError
from paceline.runs.directory import RunDirectory
from paceline.runs.files import write_json
from paceline.runs.losses import ExampleLosses
from paceline.stats.paired import paired_difference


def losses(values, tokens=None, rows=None):
    count = len(values)
    tokens = np.full(count, 10) if tokens is None else np.asarray(tokens)
    rows = np.arange(count) if rows is None else np.asarray(rows)
    zeros = np.zeros(count)
    return ExampleLosses(
        ["s"] * count,
        rows,
        ["t"] * count,
        tokens,
        np.asarray(values, dtype=np.float64),
        zeros.astype(np.int64),
        zeros,
    )


def noisy(rng, count, shift, spread=3.0):
    """Two runs whose examples differ much in difficulty, and little between the runs."""
    difficulty = rng.gamma(2.0, 5.0, count)
    return losses(difficulty + rng.normal(shift, spread, count)), losses(difficulty)


def test_a_small_but_steady_gain_is_real_and_the_same_gain_in_noise_is_a_tie():
    rng = np.random.default_rng(0)
    assert paired_difference(*noisy(rng, 1000, -0.5, 0.5)).verdict == "better"
    assert paired_difference(*noisy(rng, 1000, 0.5, 0.5)).verdict == "worse"
    assert paired_difference(*noisy(rng, 100, -0.05, 5.0)).verdict == "tie"


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        d = paired_difference(*noisy(rng, 120, -1.0))
        hits += d.low <= -0.1 <= d.high
    assert 180 <= hits <= 199, (
        "95% of 200 intervals hold the true difference of -0.1 nats a token, give or take"
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 50), st.floats(0.01, 50), st.integers(1, 30)), min_size=2, max_size=40)
)
def test_swapping_the_runs_mirrors_the_difference(triples):
    a, b, tokens = zip(*triples, strict=True)
    one, two = (
        paired_difference(losses(a, tokens), losses(b, tokens)),
        paired_difference(losses(b, tokens), losses(a, tokens)),
    )
    assert one.delta == pytest.approx((sum(a) - sum(b)) / sum(tokens), abs=1e-9)
    assert one.delta == pytest.approx(-two.delta, abs=1e-12)
    assert one.low <= one.delta + 1e-9
    assert one.delta <= one.high + 1e-9


def test_a_run_against_itself_is_a_tie():
    one = losses([3.0, 4.0, 5.0])
    assert paired_difference(one, one).verdict == "tie"


def test_only_shared_examples_that_were_cut_alike_are_compared():
    mine = losses([1.0, 2.0, 3.0, 4.0], tokens=[10, 10, 10, 10], rows=[1, 2, 3, 4])
    other = losses([2.0, 3.0, 4.0], tokens=[10, 10, 5], rows=[2, 3, 4])
    d = paired_difference(mine, other)
    assert (d.examples, d.left_out, d.delta) == (2, 3, 0.0)
    with pytest.raises(PacelineError, match="no held-out example in common"):
        paired_difference(mine, losses([1.0], rows=[9]))


@pytest.fixture
def finished(tmp_path):
    def make(name, values):
        directory = RunDirectory(tmp_path / name)
        directory.eval.mkdir(parents=True)
        losses(values).save(directory.eval / "final.parquet")
        losses(np.full(len(values), 50.0)).save(directory.eval / "base.parquet")
        write_json(
            directory.path / "status.json", {"state": "finished", "step": 1, "tokens": 2, "seconds": 3.0}
        )
        return directory

    return make


def test_a_winner_is_named_only_where_it_beats_the_runner_up(finished):
    rng = np.random.default_rng(2)
    hard = rng.gamma(2.0, 5.0, 400)
    baseline, good = finished("baseline", hard), finished("good", hard - 1 + rng.normal(0, 0.3, 400))
    twin, clear = (
        finished("twin", hard - 1 + rng.normal(0, 0.3, 400)),
        finished("clear", hard - 2 + rng.normal(0, 0.3, 400)),
    )
    tied = compare([baseline, good, twin])
    assert sorted(tied.best) == ["good", "twin"]
    assert tied.conclusion().startswith("No single winner")
    won = compare([baseline, good, twin, clear])
    assert won.best == ["clear"]
    assert [row.difference and row.difference.verdict for row in won.rows] == [
        None,
        "better",
        "better",
        "better",
    ]


def test_runs_without_result_are_listed_and_none_at_all_is_refused(finished, tmp_path):
    waiting = RunDirectory(tmp_path / "waiting")
    assert compare([finished("a", [1.0, 2.0]), waiting]).missing == {"waiting": "new"}
    with pytest.raises(PacelineError, match=r"no finished run to compare \(waiting: new\)"):
        compare([waiting])
