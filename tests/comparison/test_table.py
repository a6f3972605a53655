"""The table of a study: a verdict, not a number, and on a recipe only where seeds are covered."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from losses import example_losses
from paceline.api.comparison import Comparison as Published
from paceline.comparison.finished import read_losses
from paceline.comparison.noise import noise_for
from paceline.comparison.table import Comparison, compare, gain
from paceline.config.load import dump_recipe, make_recipe
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.files import write_json
from paceline.runs.losses import ExampleLosses

# Words that only a comparison over seeds may say.
CLAIMS = re.compile(r"\b(real|better|worse|beats|wins?|winner)\b")


@pytest.fixture
def finished(tmp_path: Path) -> Any:
    def make(name: Any, values: Any, seed: int = 42, base: str = "embedded", **fields: Any) -> Any:
        directory = RunDirectory(tmp_path / name)
        directory.eval.mkdir(parents=True)
        recipe = make_recipe({"base": base, "data": "rows.jsonl", "seed": seed}, "test")
        directory.recipe_file.write_text(dump_recipe(recipe))
        example_losses(values, **fields).save(directory.eval / "final.parquet")
        example_losses(np.full(len(values), 50.0), **fields).save(directory.eval / "base.parquet")
        write_json(
            directory.path / "status.json", {"state": "finished", "step": 1, "tokens": 2, "seconds": 3.0}
        )
        return directory

    return make


@pytest.fixture
def replicated(finished: Any, tmp_path: Path) -> Any:
    """Makes recipes with replicates, whose losses are drawn around `{recipe: its mean}`."""

    def make(means: dict[str, float], seeds: int = 3, spread: float = 0.05) -> list[RunDirectory]:
        random = np.random.default_rng(0)
        hard = random.gamma(2.0, 5.0, 300)
        directories, entries = [], []
        for recipe, mean in means.items():
            for seed in range(seeds):
                name = recipe if seed == 0 else f"{recipe}-seed{seed}"
                values = hard + mean + random.normal(0, spread) + random.normal(0, 0.3, 300)
                directories.append(finished(name, values, seed=seed))
                entries.append({"name": name, "recipe": recipe})
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({"study": "s", "runs": entries}))
        return directories

    return make


def test_over_seeds_a_winner_is_named_only_where_it_beats_every_other(replicated: Any) -> None:
    won = compare(replicated({"baseline": 0.0, "good": -1.0, "clear": -2.0}))
    assert [row.name for row in won.rows] == ["baseline", "good", "clear"]
    assert [len(row.replicates) for row in won.rows] == [3, 3, 3]
    assert won.best == ["clear"]
    assert [row.difference and row.difference.verdict for row in won.rows] == [None, "better", "better"]
    assert {name: d.verdict for name, d in won.from_best.items()} == {"baseline": "worse", "good": "worse"}
    assert "its lead over every other recipe compared (baseline, good) is real" in won.conclusion()
    assert won.rows[1].eval_loss == pytest.approx(np.mean([r.eval_loss for r in won.rows[1].replicates]))


def test_over_seeds_recipes_that_are_one_tie(replicated: Any) -> None:
    tied = compare(replicated({"one": 0.0, "other": 0.0}))
    assert sorted(tied.best) == ["one", "other"]
    assert tied.conclusion().startswith("No single winner")


def test_with_one_seed_there_is_no_verdict_on_recipes_whatever_the_losses(replicated: Any) -> None:
    comparison = compare(replicated({"baseline": 0.0, "good": -1.0, "twin": -1.0}, seeds=1))
    assert not comparison.covers_seeds
    assert comparison.rows[1].difference.verdict == "differ"
    said = " ".join([comparison.conclusion(), *comparison.footnotes()])
    assert "no verdict on the recipes" in said
    assert "`seeds: 3`" in said
    assert not CLAIMS.search(said)


def test_what_a_seed_changes_may_be_known_from_an_earlier_study(
    replicated: Any, finished: Any, tmp_path: Path
) -> None:
    earlier = replicated({"pilot": 0.0})
    known = noise_for(earlier, earlier)
    two = [finished("a", np.full(40, 20.0) + np.arange(40)), finished("b", np.full(40, 15.0) + np.arange(40))]
    assert not compare(two).covers_seeds
    told = compare(two, earlier=known)
    assert told.rows[1].difference.verdict == "better"
    said = " ".join(_noise_lines(told))
    assert f"measured on {tmp_path}: pilot (3 seeds) alone" in said
    assert "was not used: recipes here have replicates" in " ".join(
        _noise_lines(compare(earlier, earlier=known))
    )
    split = finished("d", [1.0, 2.0])
    data = {"source": "rows.jsonl", "seed": 7}
    split.recipe_file.write_text(dump_recipe(make_recipe({"base": "embedded", "data": data}, "test")))
    with pytest.raises(RunError, match=r"its split \(data.seed\) is \d+, here it is 7"):
        noise_for([split], earlier)
    with pytest.raises(RunError, match="its base is embedded, here it is other"):
        noise_for([finished("c", [1.0, 2.0], base="other")], earlier)
    with pytest.raises(RunError, match="no recipe has two finished replicates"):
        noise_for(two, two)
    lone = finished("lone", np.full(300, 20.0), base="other")
    with pytest.raises(RunError, match=r"pilot, which has replicates, has another base .* \(embedded\)"):
        noise_for([finished("e", [1.0, 2.0], base="other")], [lone, *earlier])


def _noise_lines(comparison: Comparison) -> list[str]:
    return [line for line in comparison.footnotes() if "noise" in line]


def test_noise_of_another_recipe_is_named_and_does_not_tell_louder_ones_apart(
    finished: Any, tmp_path: Path
) -> None:
    """A quiet baseline with five seeds; two runs of one loud recipe, a seed each, 0.05 nats apart."""
    random, hard = np.random.default_rng(3), np.full(300, 50.0)
    unlike = random.normal(0, 0.3, 300)
    study = [
        finished(name, hard - 0.1 + random.normal(0, 0.002), seed=seed)
        for seed, name in enumerate(["quiet", *(f"quiet-{seed}" for seed in range(1, 5))])
    ]
    study += [finished("mid", hard - 20 + unlike), finished("twin", hard - 20.5 + unlike)]
    entries = [{"name": d.name, "recipe": d.name.split("-")[0]} for d in study]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"study": "s", "runs": entries}))
    comparison = compare(study)
    assert comparison.from_best["mid"].verdict == "tie"
    assert comparison.from_best["quiet"].verdict == "worse"
    (line,) = _noise_lines(comparison)
    assert line.startswith("Seeds' noise: measured on quiet (5 seeds) alone, and taken over")
    assert re.search(r"\(mid [34]\d\d times, twin [34]\d\d times as much\)", line)
    assert "`seeds: 3`): 4 more runs" in (comparison.needed() or "")
    found = Published(**vars(comparison), published=[]).to_dict()["seed_noise"]
    assert found["measured"] == {"quiet": 5}
    assert found["taken_over"].keys() == {"mid", "twin"}
    assert (found["from"], found["welch"], found["blocked"]) == (None, False, False)


def test_the_ranking_and_all_differences_are_on_the_examples_that_all_share(finished: Any) -> None:
    """B has the lower mean over its own examples, A over those that both have."""
    rows = np.arange(20)
    a = finished("a", np.r_[np.full(10, 10.0), np.full(10, 30.0)] + rows / 100, rows=rows)
    b = finished(
        "b", np.r_[np.full(10, 11.0), np.full(10, 12.0)] + rows / 90, rows=np.r_[rows[:10], rows[10:] + 50]
    )
    comparison = compare([a, b])
    assert comparison.best[0] == "a"
    assert comparison.from_best["b"].delta > 0
    assert comparison.rows[0].eval_loss < comparison.rows[1].eval_loss
    assert (comparison.examples, comparison.left_out) == (10, 20)


def test_replicates_and_rows_are_on_the_shared_examples_alike(finished: Any, tmp_path: Path) -> None:
    """`a` holds out ten more examples than `b`, on which it is much worse, and guesses no token."""
    rows = np.arange(20)
    a = [finished(f"a{seed}", np.r_[np.full(10, 10.0 + seed), np.full(10, 90.0)], seed) for seed in range(2)]
    for directory in a:
        file = directory.eval / "final.parquet"
        losses = ExampleLosses.read(file)
        replace(losses, correct=np.where(rows < 10, 5, 0), task=["x"] * 10 + ["y"] * 10).save(file)
    b = finished("b", np.linspace(11, 12, 10))
    entries = [{"name": d.name, "recipe": "a"} for d in a] + [{"name": "b"}]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"study": "s", "runs": entries}))
    row = compare([*a, b]).rows[0]
    assert [replicate.eval_loss for replicate in row.replicates] == pytest.approx([1.0, 1.1])
    assert (row.eval_loss, row.spread) == pytest.approx((1.05, 0.1 / np.sqrt(2)))
    assert row.token_accuracy == pytest.approx(0.5)
    assert row.tasks.keys() == {"x"}


def test_examples_of_one_row_stay_distinct(finished: Any) -> None:
    rows = np.repeat(np.arange(10), 3)
    values = np.tile([10.0, 20.0, 30.0], 10)
    a, b = finished("a", values, rows=rows), finished("b", values + rows, rows=rows)
    comparison = compare([a, b])
    assert (comparison.examples, comparison.left_out) == (30, 0)
    assert comparison.rows[0].eval_loss == pytest.approx(2.0)
    assert comparison.from_best["b"].delta == pytest.approx(0.45)


def test_ties_over_seeds_say_what_would_tell_them_apart(replicated: Any) -> None:
    tied = compare(replicated({"one": 0.0, "other": 0.0}))
    assert "seeds each would" in (tied.needed() or "")
    assert tied.needed() in tied.footnotes()
    assert compare(replicated({"clear": -2.0, "far": 2.0})).needed() is None


def test_one_example_says_nothing_of_a_run(finished: Any) -> None:
    said = compare([finished("a", [10.0])]).conclusion()
    assert said == "a: held-out loss from 5.0000 to 1.0000; too few examples to say more."


def test_runs_without_result_are_listed_and_none_at_all_is_refused(finished: Any, tmp_path: Path) -> None:
    waiting = RunDirectory(tmp_path / "waiting")
    comparison = compare([finished("a", [1.0, 2.0]), waiting])
    assert comparison.missing == {"waiting": RunStatus()}
    assert [caveat.text for caveat in comparison.caveats] == ["waiting: new, no result."]
    with pytest.raises(RunError, match=r"no finished run to compare \(waiting: new\)"):
        compare([waiting])


def test_two_runs_of_one_name_are_refused_and_one_run_named_twice_is_not(finished: Any) -> None:
    first, second = finished("a", [5.0, 6.0]), finished("other/a", [1.0, 2.0])
    with pytest.raises(RunError, match="both runs are called a; rename the folder of one"):
        compare([first, second])
    assert [row.name for row in compare([first, first]).rows] == ["a"]


def test_a_run_that_shares_no_example_has_no_difference_and_cannot_win(finished: Any) -> None:
    comparison = compare([finished("a", [5.0, 6.0]), finished("b", [1.0, 2.0], rows=[7, 8])])
    assert comparison.best == ["a"]
    assert comparison.rows[1].difference is None
    assert comparison.from_best == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.linspace(30, 40, 50), "the adapter of a lowers the base's held-out loss"),
        (np.linspace(60, 70, 50), "the adapter of a raises the base's held-out loss"),
        (np.linspace(0, 101, 50), "the adapter of a does not measurably change the held-out loss"),
        (np.full(50, 50.0), "the adapter of a does not change the held-out loss"),
    ],
)
def test_what_a_run_does_to_the_base_is_said_only_with_an_interval(
    finished: Any, values: Any, said: str
) -> None:
    comparison: Comparison = compare([finished("a", values)])
    assert comparison.conclusion().startswith(said)
    assert gain(comparison.rows[0], comparison.base_loss) == comparison.conclusion()


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
    assert sorted(files) == ["base.parquet"] * 2 + ["final.parquet"] * 2
