"""Cleaning: copies, leaks and odd examples go, and are counted by rule."""

import json
import random
from typing import Any

import numpy as np
import pytest

from paceline.config.data import Clean
from paceline.config.load import make_recipe
from paceline.data.clean import clean
from paceline.data.split import Split
from paceline.training.prepare import Preparer

WORDS = [
    f"{a}{b}"
    for a in ("ka", "lo", "mi", "nu", "pe", "ra", "so", "ti")
    for b in ("ba", "de", "fi", "go", "hu", "ja", "ke", "la")
]


def text(rng: Any, words: Any = 60) -> Any:
    return " ".join(rng.choice(WORDS) for _ in range(words))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(question, answer) pairs -> token data set, in their order."""

    def make(pairs: Any) -> Any:
        path = tmp_path_factory.mktemp("clean") / "rows.jsonl"
        path.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in pairs))
        preparer = Preparer()
        dataset = preparer.tokens(make_recipe({"base": "embedded", "data": str(path)}, "test"))
        order = np.argsort(dataset.column("row"))  # by place in the file
        return dataset, order

    return make


def test_copies_and_leaks_are_told_apart(load: Any) -> None:
    rng = random.Random(0)
    pairs = [(text(rng), text(rng)) for _ in range(40)]
    question, answer = pairs[0]
    pairs[10] = pairs[20]  # an exact copy inside train
    pairs[11] = pairs[0]  # an exact copy of a held-out row
    pairs[12] = (question, answer + " ende")  # nearly a held-out row
    pairs[13] = (
        pairs[21][0],
        pairs[21][1].replace(pairs[21][1].split()[30], "other", 1),
    )  # nearly a row of train
    dataset, order = load(pairs)
    parts = Split(order[8:], order[:8])
    done = clean(dataset, Clean(outliers=None, threshold=0.7), parts)
    assert done.removed["leak into eval, exact"] == 1
    assert done.removed["leak into eval, near"] == 1
    assert done.removed["exact duplicate"] == 1
    assert done.removed["near duplicate"] == 1
    rows = dataset.column("row")
    kept = set(rows[done.split.train].tolist())
    assert not kept & {11, 12}
    assert len(kept & {10, 20}) == len(kept & {13, 21}) == 1
    assert set(done.split.eval) == set(parts.eval)


def test_unlike_rows_stay(load: Any) -> None:
    rng = random.Random(1)
    dataset, order = load([(text(rng), text(rng)) for _ in range(60)])
    done = clean(dataset, Clean(), Split(order[10:], order[:10]))
    assert (len(done.split.train), len(done.split.eval)) == (50, 10)
    assert not any(done.removed.values())


def test_odd_lengths_and_repetition_are_counted_by_rule(load: Any) -> None:
    rng = random.Random(2)
    pairs = [(text(rng), text(rng, rng.randint(40, 60))) for _ in range(60)]
    pairs[3] = (text(rng), text(rng, 4000))
    pairs[4] = (text(rng), "again and again " * 40)
    dataset, order = load(pairs)
    done = clean(dataset, Clean(duplicates="none"), Split(order, order[:0]))
    assert {rule: count for rule, count in done.removed.items() if count} == {
        "length outlier": 1,
        "repeats itself": 1,
    }


def test_rules_can_be_turned_off(load: Any) -> None:
    rng = random.Random(3)
    pair = (text(rng), text(rng))
    dataset, order = load([pair] * 5 + [(text(rng), "again and again " * 40)])
    done = clean(
        dataset, Clean(duplicates="none", outliers=None, max_repetition=None), Split(order, order[:0])
    )
    assert len(done.split.train) == 6
