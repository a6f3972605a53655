"""What was said in advance, held against the figures."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from losses import example_losses
from paceline.config.criteria import Criterion, parse_criterion, parse_expectation, parse_success
from paceline.config.load import dump_recipe, load_study, make_recipe
from paceline.errors import ConfigError
from paceline.report.collect import collect_study
from paceline.report.export import write_report
from paceline.runs.directory import RunDirectory
from paceline.runs.files import write_json


def test_a_criterion_is_read_as_a_person_writes_it() -> None:
    assert parse_criterion("perplexity < 6", "f") == Criterion("perplexity", "<", 6.0)
    assert str(parse_criterion("eval_loss<baseline", "f")) == "eval_loss < baseline"
    assert parse_success("grad_norm > 0", "f") == (Criterion("grad_norm", ">", 0.0),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("perplexity = 6", "no criterion"),
        ("perplexty < 6", "did you mean 'perplexity'"),
        ("perplexity < low", "has a number"),
        (7, "no criterion"),
    ],
)
def test_another_form_is_refused(text: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_success(text, "study.yaml")


def test_an_expectation_names_a_recipe_before_it() -> None:
    assert parse_expectation("eval_loss > plain", "f", ["plain"]).bound == "plain"
    with pytest.raises(ConfigError, match="no recipe 'later'"):
        parse_expectation("eval_loss < later", "f", ["plain"])
    with pytest.raises(ConfigError, match="recipes are held against one another in eval_loss and mtbench"):
        parse_expectation("grad_norm < plain", "f", ["plain"])


def test_a_hypothesis_expects_a_lower_loss_than_the_baseline_s_unless_it_says_else(tmp_path: Path) -> None:
    runs = [
        {"name": "plain", "hypothesis": "to compare with"},
        {"name": "high", "hypothesis": "faster", "lr": 1e-3},
        {"name": "low", "hypothesis": "slower", "lr": 1e-6, "expect": "eval_loss > high"},
    ]
    content = {"recipe": {"base": "b", "data": "d"}, "runs": runs, "success": ["perplexity < 6"], "seeds": 2}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    study = load_study(tmp_path / "s.yaml")
    expected = {run.name: str(run.expects) for run in study.runs if not run.replicate_of}
    assert expected == {"plain": "None", "high": "eval_loss < plain", "low": "eval_loss > high"}
    assert all(run.success == (Criterion("perplexity", "<", 6.0),) for run in study.runs)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three recipes with three seeds each: one like the baseline, one that is clearly lower."""
    random = np.random.default_rng(0)
    hard = random.gamma(4.0, 5.0, 200)
    entries = []
    for recipe, mean in (("plain", 0.0), ("clear", -4.0), ("twin", 0.0)):
        for seed in range(3):
            directory = RunDirectory(tmp_path / f"{recipe}-{seed}" if seed else tmp_path / recipe)
            directory.eval.mkdir(parents=True)
            recipe_file = make_recipe({"base": "embedded", "data": "rows.jsonl", "seed": seed}, "test")
            directory.recipe_file.write_text(dump_recipe(recipe_file))
            values = hard + mean + random.normal(0, 0.3, 200) + random.normal(0, 0.05)
            example_losses(values).save(directory.eval / "final.parquet")
            example_losses(hard + 10.0).save(directory.eval / "base.parquet")
            write_json(directory.path / "status.json", {"state": "finished", "step": 1})
            bound = str(np.round((hard + mean).mean() / 10 + 0.2, 3))
            expects = None if recipe == "plain" else {"figure": "eval_loss", "sign": "<", "bound": "plain"}
            success = [
                {"figure": "eval_loss", "sign": "<", "bound": float(bound)},
                {"figure": "eval_loss_drop", "sign": ">", "bound": 1.2},
                {"figure": "token_accuracy_gain", "sign": ">", "bound": 5.0},
                {"figure": "grad_norm", "sign": ">", "bound": 0.0},
            ]
            entries.append(
                {
                    "name": directory.name,
                    "recipe": recipe,
                    "seed": seed,
                    "hypothesis": f"{recipe} is lower",
                    "expects": expects,
                    "success": success,
                }
            )
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"study": "s", "runs": entries}))
    return tmp_path


def test_hypotheses_are_held_only_where_the_interval_says_so(study: Path, tmp_path: Path) -> None:
    facts = collect_study(study)
    outcomes = {one.recipe: one.outcome for one in facts.hypotheses}
    assert outcomes == {"clear": "held", "twin": "cannot tell"}
    assert "examples and seeds" in facts.hypotheses[0].number
    markdown, page = write_report(facts, tmp_path)
    for text in (markdown.read_text(), page.read_text()):
        assert "clear is lower" in text
        assert "cannot tell" in text


def test_criteria_are_passed_failed_or_open_by_their_interval(study: Path) -> None:
    judged = {(one.recipe, one.criterion.split()[0]): one for one in collect_study(study).success}
    assert judged["clear", "eval_loss"].outcome == "passed"
    assert judged["clear", "eval_loss_drop"].outcome == "passed"
    assert judged["plain", "eval_loss_drop"].outcome == "failed"
    assert judged["plain", "token_accuracy_gain"].outcome == "failed"
    assert judged["plain", "grad_norm"].outcome == "not measured"
