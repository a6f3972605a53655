"""Each conclusion is drawn from numbers that the tables hold, and says no more than they do."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paceline.comparison.recipes import BASE
from paceline.report.conclusions import conclusions, conclusions_about
from paceline.stats.recipes import RecipeFamily, RecipeScores, compare_recipes

CLAIMS = re.compile(r"\b(real|better|worse|beats|wins?)\b")


def test_every_number_of_a_conclusion_is_in_the_tables(written: Any) -> None:
    facts, markdown, _ = written
    tables = "\n".join(line for line in markdown.read_text().splitlines() if line.startswith("|"))
    sentences = conclusions(facts)
    for row in facts.comparison.rows:
        assert f"{row.eval_loss:.4f}" in tables
    base = facts.comparison.base_loss
    assert f"from {base:.4f} to" in sentences[0]
    assert f"{base:.4f}" in tables


def test_one_seed_each_claims_nothing_of_recipes_anywhere(written: Any) -> None:
    facts, markdown, page = written
    assert any("no verdict on the recipes" in sentence for sentence in conclusions(facts))
    assert any("`seeds: 3`" in sentence for sentence in conclusions(facts))
    assert not [sentence for sentence in conclusions(facts) if CLAIMS.search(sentence)]
    assert not CLAIMS.search(markdown.read_text().split("## Answers before and after")[0])
    text = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]*>", " ", page.read_text(), flags=re.DOTALL)
    assert not CLAIMS.search(text.split("Answers before and after")[0])


def test_a_difference_from_the_leader_has_the_sign_that_the_table_has(facts: Any) -> None:
    """Below zero is the lower loss, whichever recipe is the baseline."""
    leader = facts.comparison.best[0]
    name, d = next(iter(facts.comparison.from_best.items()))
    sentence = next(s for s in conclusions(facts) if f"of {leader} and {name} " in s)
    assert d.delta > 0
    assert f"({-d.delta:+.4f}, 95% from {-d.high:+.4f} to {-d.low:+.4f} nats" in sentence


def family(seeds: int, gain: float) -> RecipeFamily:
    """Pass rates on 200 tasks of two recipes and the base, the second one `gain` above the others."""
    random = np.random.default_rng(1)
    hard = random.random(200)

    def passed(rate: float) -> Any:
        return np.stack([(random.random(200) < 0.2 + 0.6 * hard + rate) * 1.0 for _ in range(seeds)])

    names = (("plain", 0.0), ("faster", gain))
    recipes = [
        RecipeScores(name=name, seeds=tuple(range(seeds)), totals=passed(rate)) for name, rate in names
    ]
    base = RecipeScores(name=BASE, seeds=(), totals=passed(0.0)[:1])
    return compare_recipes([*recipes, base], np.ones(200), better="higher")


@pytest.mark.parametrize(
    ("seeds", "gain", "start"),
    [
        (3, 0.3, "faster raises the share of rust tasks passed ("),
        (3, 0.0, "faster does not measurably change the share of rust tasks passed ("),
        (1, 0.3, "the adapter of faster raises the share of rust tasks passed ("),
    ],
)
def test_passed_tasks_have_an_interval_and_a_subject(facts: Any, seeds: int, gain: float, start: str) -> None:
    study = replace(facts, families=replace(facts.families, code={"rust": family(seeds, gain)}))
    about = [sentence for sentence in conclusions_about(study, "faster") if "rust tasks" in sentence]
    d = study.families.code["rust"].between("faster", BASE)
    assert about[0].startswith(start)
    assert f"{100 * d.delta:+.1f}, 95% from {100 * d.low:+.1f} to {100 * d.high:+.1f} points" in about[0]
    against_baseline = [sentence for sentence in about if "than that of plain" in sentence]
    assert bool(against_baseline) == (seeds == 3 and gain > 0)


def test_conclusions_about_a_run_are_not_those_of_one_with_a_longer_name(facts: Any) -> None:
    renamed = replace(facts, runs=[replace(facts.runs[0], name="twin-2"), *facts.runs[1:]])
    own = conclusions_about(renamed, "twin")
    assert own
    assert not any(sentence.startswith("twin-2") for sentence in own)


def test_nothing_finished_nothing_concluded(facts: Any) -> None:
    families = replace(facts.families, mtbench=None, code={}, forgetting=None, withheld=[])
    nothing = replace(facts, comparison=None, runs=[], families=families)
    assert conclusions(nothing) == ["No run has finished: there is nothing to conclude."]
