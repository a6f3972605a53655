"""Training rows drawn anew: the same held-out examples, other training ones, never one of both."""

import json
import random
from typing import Any

import numpy as np
import pytest

from helpers import MakeRecipe
from paceline.data.resample import resample
from paceline.errors import DataError
from paceline.training.prepare import Prepared, Preparer


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """400 rows of two subsets; every tenth copies the row before it, and every 25th has no long answer."""
    rng = random.Random(1)
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    written: list[dict[str, str]] = []
    for i in range(400):
        words = " ".join(str(rng.randrange(10**6)) for _ in range(rng.randint(2, 12)))
        row = {"prompt": f"Repeat {words}", "completion": f"Here: {words}" if i % 25 else "5"}
        row["subset"] = "odd" if i % 2 else "even"
        written.append({**written[-1], "subset": row["subset"]} if i % 10 == 9 else row)
    path.write_text("".join(json.dumps(row) + "\n" for row in written))
    return str(path)


def _ids(prepared: Prepared, side: str) -> list[bytes]:
    examples = getattr(prepared.split, side)
    return [prepared.dataset.example(i)[0].tobytes() for i in examples]


DATA: list[dict[str, Any]] = [
    {"n": 100},
    {"n": 100, "eval_ratio": 0.3, "seed": 7},
    {"sample_ratio": 0.5, "clean": {"duplicates": "exact", "min_answer": 4}},
    {"n": 150, "clean": {}},
    {"n": 100, "mix": [{"subset": "odd", "ratio": 0.7}, {"subset": "even", "ratio": 0.3}]},
]


@pytest.mark.parametrize("data", DATA)
def test_the_held_out_side_stays_and_the_training_side_is_another(
    rows: str, recipe: MakeRecipe, data: dict[str, Any]
) -> None:
    preparer = Preparer()
    plain = preparer.prepare(recipe(data={"source": rows, **data}))
    first, second = (
        preparer.prepare(recipe(data={"source": rows, "resample": seed, **data})) for seed in (1, 2)
    )
    held_out = _ids(plain, "eval")
    for drawn in (first, second):
        assert _ids(drawn, "eval") == held_out
        assert not set(_ids(drawn, "train")) & set(held_out), "neither a held-out example nor a copy of one"
        assert drawn.facts.train == plain.facts.train
        assert drawn.facts.train_mixture == plain.facts.train_mixture
        used = drawn.dataset.column("row")[drawn.split.train]
        assert len(set(used)) == len(used), "drawn without replacement"
    of_each = [set(_ids(prepared, "train")) for prepared in (plain, first, second)]
    assert of_each[1] - of_each[0], "rows that the plain sample left"
    assert of_each[1] != of_each[2]


def test_a_draw_is_the_same_every_time(rows: str, recipe: MakeRecipe) -> None:
    made = recipe(data={"source": rows, "n": 100, "resample": 3})
    one, other = Preparer().prepare(made), Preparer().prepare(made)
    assert _ids(one, "train") == _ids(other, "train")


def test_the_plain_sample_is_what_it_was_beside_a_draw(rows: str, recipe: MakeRecipe) -> None:
    made = recipe(data={"source": rows, "n": 100})
    alone, preparer = Preparer().prepare(made), Preparer()
    preparer.prepare(recipe(data={"source": rows, "n": 100, "resample": 3}))
    beside = preparer.prepare(made)
    assert beside.dataset.table._fingerprint == alone.dataset.table._fingerprint
    assert np.array_equal(beside.split.train, alone.split.train)


def test_examples_too_long_to_train_are_not_drawn(rows: str, recipe: MakeRecipe) -> None:
    made = recipe(data={"source": rows, "n": 100, "resample": 3}, max_length=80)
    prepared = Preparer().prepare(made)
    assert (prepared.dataset.first[prepared.split.train] < 80).all()
    assert (
        prepared.facts.train
        == Preparer().prepare(recipe(data={"source": rows, "n": 100}, max_length=80)).facts.train
    )


def test_a_source_without_more_rows_is_refused(rows: str, recipe: MakeRecipe) -> None:
    with pytest.raises(DataError, match=r"the sample takes all 400 rows already; lower data\.n"):
        Preparer().prepare(recipe(data={"source": rows, "resample": 3}))


def test_too_few_rows_that_can_train_are_refused(rows: str, recipe: MakeRecipe) -> None:
    made, preparer = recipe(data={"source": rows, "n": 100}), Preparer()
    plain = preparer.prepare(made)
    data = made.data.model_copy(update={"resample": 1})
    with pytest.raises(DataError, match="and only 1 of its rows can train"):
        resample(
            data,
            preparer.chat(made.base),
            plain.dataset,
            plain.split,
            plain.split.eval,
            lambda grown, drawn: drawn.train[:1],
        )
