"""Rows that count more or less than others: what trains, beside what, and what goes on with what."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import MakeRecipe, MakeStudy, StopWhen, adapter_bytes
from paceline.data.chat import load_chat
from paceline.data.describe import describe
from paceline.errors import DataError, RunError
from paceline.runs.losses import ExampleLosses
from paceline.training.micro_batches import make_sequences
from paceline.training.prepare import Preparer
from paceline.training.study import TrainingOptions, train_study

HALFWAY = TrainingOptions(callbacks=[StopWhen(lambda cohort: cohort.runs[0].step >= 2)])
Write = Callable[[Callable[[int], Any]], str]


@pytest.fixture
def write(sums: str, tmp_path: Path) -> Write:
    """Writes 80 of the sums with a weight each, and gives the path."""
    path = tmp_path / "weighed.jsonl"

    def rows(weight: Callable[[int], Any]) -> str:
        lines = Path(sums).read_text().splitlines()[:80]
        weighed = ({**json.loads(line), "w": weight(i)} for i, line in enumerate(lines))
        path.write_text("".join(json.dumps(row) + "\n" for row in weighed))
        return str(path)

    return rows


def some_weights(row: int) -> float:
    return random.Random(int(row)).choice([0, 0.5, 1, 3.25])


def weighed(source: str) -> dict[str, Any]:
    return {"source": source, "columns": {"weight": "w"}, "eval_ratio": 0.2}


def test_rows_of_weight_zero_do_not_train_and_are_held_out_all_the_same(
    recipe: MakeRecipe, write: Write
) -> None:
    source = write(some_weights)
    preparer = Preparer()
    prepared = preparer.prepare(recipe(data=weighed(source)))
    plain = preparer.prepare(recipe(data={"source": source, "eval_ratio": 0.2}))
    rows = prepared.dataset.column("row")
    assert [some_weights(row) for row in rows] == prepared.dataset.column("weight").tolist()
    trains = [row for row in rows[plain.split.train] if some_weights(row)]
    assert rows[prepared.split.train].tolist() == trains
    assert prepared.facts.removed == {"weight 0": plain.facts.train - len(trains)}
    assert prepared.split.eval.tolist() == plain.split.eval.tolist()
    assert {some_weights(row) for row in rows[prepared.split.eval]} == {0, 0.5, 1, 3.25}
    assert "; rows weigh 0.5 to 3.25; " in prepared.summary()
    assert plain.dataset.weights is None
    assert plain.facts.unused_columns == ["w"]
    train = prepared.split.train
    for own in make_sequences(prepared.dataset, train, 256):
        assert own.weight == some_weights(rows[own.example])
    assert {own.weight for own in make_sequences(plain.dataset, train, 256)} == {None}


def test_weighted_runs_beside_plain_and_packed_ones_end_as_if_alone(
    recipe: MakeRecipe, study: MakeStudy, write: Write, texts: str, tmp_path: Path
) -> None:
    source, fields = write(some_weights), {"max_steps": 4, "batch_size": 4, "max_length": 128}
    kl = {"kl": {"coef": 0.1, "tail": 16}}
    runs = {
        "weighed": recipe(data=weighed(source), **fields, **kl),
        "plain": recipe(data={"source": source, "eval_ratio": 0.2}, **fields),
        "packed": recipe(data={"source": texts, "packing": True}, **fields),
    }
    train_study(study(**runs), tmp_path / "together")
    for name, made in runs.items():
        train_study(study(**{name: made}), tmp_path / "alone")
        bits = adapter_bytes(tmp_path / "alone" / name)
        assert bits == adapter_bytes(tmp_path / "together" / name), name
        halves = tmp_path / "halves"
        train_study(study(**{name: made}), halves, HALFWAY)
        train_study(study(**{name: made}), halves)
        assert adapter_bytes(halves / name) == bits, name
    assert adapter_bytes(tmp_path / "alone" / "weighed") != adapter_bytes(tmp_path / "alone" / "plain")
    base = [
        ExampleLosses.read(tmp_path / "together" / name / "eval" / "base.parquet")
        for name in ("weighed", "plain")
    ]
    assert np.array_equal(base[0].loss, base[1].loss)


def test_a_run_does_not_go_on_with_other_weights(
    recipe: MakeRecipe, study: MakeStudy, write: Write, tmp_path: Path
) -> None:
    made = study(run=recipe(data=weighed(write(some_weights)), max_steps=4))
    train_study(made, tmp_path / "s", HALFWAY)
    write(lambda row: some_weights(row) * 2)
    with pytest.raises(RunError, match="the training rows and the held-out rows changed since the run began"):
        train_study(made, tmp_path / "s")


def test_bad_weights_are_named_with_their_line(recipe: MakeRecipe, write: Write) -> None:
    source = write(lambda row: "heavy" if row == 6 else 1)
    prepared = Preparer().prepare(recipe(data=weighed(source)))
    assert [(row.where, row.reason) for row in prepared.dataset.bad] == [
        (
            f"{source} line 7",
            "column 'w' is 'heavy', and a row's weight is a number from 0 (not learned) to 3.4e+38",
        )
    ]
    with pytest.raises(DataError, match=r"line 1: column 'w' is -1, .*80 of 80 rows cannot be used"):
        Preparer().prepare(recipe(data=weighed(write(lambda row: -1))))
    with pytest.raises(DataError, match=r"no example is left to train; check .* the rows' weights"):
        Preparer().prepare(recipe(data=weighed(write(lambda row: 0))))


def test_a_summary_tells_the_weights(recipe: MakeRecipe, write: Write) -> None:
    dataset = Preparer().tokens(recipe(data=weighed(write(lambda row: row % 4))))
    weights = describe(dataset, load_chat("embedded")).weights
    assert weights == {"min": 0, "mean": 1.5, "max": 3, "zero": 20}
