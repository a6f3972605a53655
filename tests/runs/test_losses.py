"""Losses of held-out examples: what they come to, and the table on disk."""

import math
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from paceline.runs.losses import ExampleLosses


def draw(examples: int = 40, measured: bool = True, seed: int = 0) -> ExampleLosses:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 50, examples)
    return ExampleLosses(
        source=[f"rows.jsonl:{i % 2}" for i in range(examples)],
        row=rng.permutation(examples),
        task=[str(task) for task in rng.choice(["sum", "product", "joke"], examples)],
        tokens=tokens,
        loss=rng.gamma(2.0, 1.0, examples) * tokens,
        correct=rng.integers(0, tokens + 1),
        kl=rng.random(examples) * tokens if measured else np.full(examples, np.nan),
        answer=tokens,
    )


@pytest.mark.parametrize("measured", [True, False])
def test_figures_are_means_over_tokens_of_all_of_each_task_and_of_each_phase(measured: bool) -> None:
    losses = draw(measured=measured)
    summary = losses.summary({"numbers": ["sum", "product"], "unused": ["poem"]})
    names = {name: [name] for name in ("sum", "product", "joke")}
    names |= {"": list(names), "numbers": ["sum", "product"]}
    found = {"": summary, **summary.tasks, **summary.phases}
    assert names.keys() == found.keys()
    for name, tasks in names.items():
        rows = np.isin(losses.task, tasks)
        figures, tokens = found[name], losses.tokens[rows].sum()
        mean = np.average(losses.loss[rows] / losses.tokens[rows], weights=losses.tokens[rows])
        assert (figures.examples, figures.tokens) == (rows.sum(), tokens)
        assert figures.loss == pytest.approx(mean)
        assert figures.perplexity == pytest.approx(np.exp(mean))
        assert figures.token_accuracy == pytest.approx(losses.correct[rows].sum() / tokens)
        assert figures.kl == (pytest.approx(losses.kl[rows].sum() / tokens) if measured else None)


def test_a_loss_that_is_not_finite_is_not_hidden() -> None:
    losses = draw()
    losses.loss[3] = np.nan
    assert math.isnan(losses.summary().loss)


@pytest.mark.parametrize("measured", [True, False])
def test_what_is_saved_is_read_bit_for_bit(measured: bool, tmp_path: Path) -> None:
    losses, path = draw(measured=measured), tmp_path / "final.parquet"
    losses.save(path)
    again = ExampleLosses.read(path)
    assert (again.source, again.task) == (losses.source, losses.task)
    for name in ("row", "tokens", "loss", "correct", "kl"):
        mine, theirs = getattr(losses, name), getattr(again, name)
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["final.parquet"]


def test_any_program_reads_the_table(tmp_path: Path) -> None:
    losses = draw()
    losses.save(tmp_path / "final.parquet")
    path, cache = str(tmp_path / "final.parquet"), str(tmp_path)
    table = Dataset.from_parquet(path, cache_dir=cache, keep_in_memory=True)
    assert table.column_names == ["source", "row", "task", "tokens", "loss", "correct", "kl", "answer"]
    assert list(table["loss"]) == losses.loss.tolist()


def test_the_examples_of_one_task_keep_their_order() -> None:
    losses = draw()
    chosen = [i for i, task in enumerate(losses.task) if task == "joke"]
    jokes = losses.of_task("joke")
    assert jokes.task == ["joke"] * len(chosen)
    assert jokes.source == [losses.source[i] for i in chosen]
    for name in ("row", "tokens", "loss", "correct", "kl"):
        assert getattr(jokes, name).tolist() == getattr(losses, name)[chosen].tolist()
    assert losses.of_task("poem").task == []
