"""What was said in advance, held against the figures."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from losses import example_losses
from paceline.comparison.recipes import BASE
from paceline.config.criteria import FIGURES, Criterion, parse_criterion, parse_expectation, parse_success
from paceline.config.load import dump_recipe, load_study, make_recipe
from paceline.errors import ConfigError
from paceline.evaluate.mtbench.judges.reward import squash
from paceline.report.collect import collect_study
from paceline.report.export import write_report
from paceline.report.families import Graded, asked_otherwise
from paceline.report.judged import Judged, Log, Measured, figure_of, judge_success
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluations import Judgment
from paceline.runs.events import EvalEvent, EvaluationName, TrainEvent
from paceline.runs.files import write_json
from paceline.runs.study import RecipeGroup, StudyRecord


def test_a_criterion_is_read_as_a_person_writes_it() -> None:
    assert parse_criterion("perplexity < 6", "f") == Criterion("perplexity", "<", 6.0)
    assert str(parse_criterion("eval_loss<baseline", "f")) == "eval_loss < baseline"
    early = parse_criterion("train_loss_drop@500 > 0.2", "f")
    assert (early.by, str(early)) == (500, "train_loss_drop@500 > 0.2")
    assert parse_success("grad_norm > 0", "f") == (Criterion("grad_norm", ">", 0.0),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("perplexity = 6", "no criterion"),
        ("perplexty < 6", "did you mean 'perplexity'"),
        ("perplexity < low", "has a number"),
        (7, "no criterion"),
        ("perplexity@500 < 6", "`@500` goes with train_loss_drop alone"),
        ("train_loss_drop@x > 1", "no criterion"),
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


@pytest.mark.parametrize(
    ("judge", "criterion", "said"),
    [
        ("reward", "mtbench > 3", "not in rating points; write mtbench_reward$"),
        ("reward", "mtbench_gain > 0", "write mtbench_reward_gain$"),
        ("simple", "mtbench_reward > 0", "the judge `simple` gives ratings, no raw scores; write mtbench$"),
    ],
)
def test_a_criterion_is_in_the_scale_of_its_judge(
    tmp_path: Path, judge: str, criterion: str, said: str
) -> None:
    asked = {"mtbench": {"judge": judge, "judge_model": "m" if judge == "reward" else None}}
    content = {"recipe": {"base": "b", "data": "d", "eval": asked}, "runs": [{"name": "a"}]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**content, "success": criterion}))
    with pytest.raises(ConfigError, match=said):
        load_study(tmp_path / "s.yaml")
    fitting = "mtbench_reward > 3" if judge == "reward" else "mtbench > 3"
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**content, "success": fitting}))
    assert str(load_study(tmp_path / "s.yaml").runs[0].success[0]) == fitting


def grades(means: Iterable[float], is_raw: bool, run: str = "r") -> list[Judgment]:
    """Two turns of each question: of a reward model, whose rating then says something else, or rated."""
    return [
        Judgment(
            run=run,
            id=str(i),
            category="c",
            turn=turn,
            rating=squash(mean) if is_raw else mean,
            raw=mean if is_raw else None,
            reply="",
        )
        for i, mean in enumerate(means)
        for turn in range(2)
    ]


@pytest.mark.parametrize("is_raw", [True, False])
def test_a_figure_of_mtbench_is_in_what_the_judge_gave_with_an_interval(is_raw: bool) -> None:
    random = np.random.default_rng(3)
    base, own = random.normal(3, 1, 40), random.normal(4, 1, 40)
    graded = Graded(recipes={"r": {0: grades(own, is_raw)}}, base=grades(base, is_raw))
    measured = Measured(losses={}, bases={}, logs={}, mtbench=graded)
    name, other = ("mtbench_reward", "mtbench") if is_raw else ("mtbench", "mtbench_reward")
    own_mean, own_gain = parse_criterion(f"{name} > 0", ""), parse_criterion(f"{name}_gain > 0", "")
    mean, gain = figure_of(own_mean, "r", measured), figure_of(own_gain, "r", measured)
    assert mean is not None
    assert gain is not None
    assert mean.value == pytest.approx(own.mean())
    assert (mean.high - mean.low) / 2 == pytest.approx(1.96 * own.std(ddof=1) / np.sqrt(40), rel=0.1)
    assert gain.value == pytest.approx((own - base).mean())
    assert figure_of(parse_criterion(f"{other} > 0", ""), "r", measured) is None
    assert figure_of(own_mean, "nobody", measured) is None
    alone = Measured(losses={}, bases={}, logs={}, mtbench=Graded(recipes=graded.recipes, base=[]))
    assert figure_of(own_gain, "r", alone) is None, "the base's answers were cut, or not asked for"


def test_grades_of_other_questions_or_judges_are_not_compared(tmp_path: Path) -> None:
    """And a gain is not measured from the base of another recipe."""
    groups = [RecipeGroup(name, (RunDirectory(tmp_path / name),), (0,)) for name in "abc"]
    ways = {"a": "simple; en, greedy", "b": "simple; en, greedy", "c": "reward; en, greedy"}
    out = asked_otherwise(groups, ways, "MT-Bench")
    assert out == {
        "c": "No verdict on MT-Bench of c: it was asked or graded otherwise than the first "
        "(reward; en, greedy; there simple; en, greedy)."
    }
    graded = Graded(
        recipes={"r": {0: grades([3.0, 4.0], is_raw=False)}}, base=grades([1.0, 2.0], is_raw=False)
    )
    measured = Measured(losses={}, bases={}, logs={}, mtbench=graded, other_bases={"r": "other"})
    assert figure_of(parse_criterion("mtbench_gain > 0", ""), "r", measured) is None
    assert figure_of(parse_criterion("mtbench > 0", ""), "r", measured) is not None


def log_of(train: dict[int, float], evals: list[tuple[EvaluationName, float]]) -> Log:
    steps = [
        TrainEvent(
            time=0.0, step=step, epoch=0.0, loss=loss, lr=1.0, grad_norm=1.0 / step, token_accuracy=0.5,
            tokens=1, supervised_tokens=1, seconds=0.0,
        )
        for step, loss in train.items()
    ]  # fmt: skip
    found = [
        EvalEvent(
            time=0.0, step=0, epoch=0.0, name=name, seconds=0.0, examples=1, tokens=1, loss=loss, perplexity=1.0,
            token_accuracy=0.5,
        )
        for name, loss in evals
    ]  # fmt: skip
    return Log(train=steps, evals=found)


def test_what_a_log_alone_says() -> None:
    """Over two replicates: the mean drop by a step and in all, the most rises, the smallest norm."""
    nan = float("nan")
    one = log_of({10: 3.0, 500: 2.5, 600: 1.0}, [("base", 3.0), ("eval", 2.0), ("eval", 2.1), ("final", 1.9)])
    two = log_of({10: 3.0, 490: 2.9, 510: 2.0}, [("base", 3.0), ("eval", 2.0), ("final", 2.0), ("best", 2.5)])
    measured = Measured(losses={}, bases={}, logs={"r": [one, two]}, mtbench=Graded(recipes={}, base=[]))

    def value(criterion: str, recipe: str = "r") -> float | None:
        figure = figure_of(parse_criterion(criterion, ""), recipe, measured)
        return None if figure is None else round(figure.value, 9)

    assert value("train_loss_drop@500 > 0.2") == 0.3
    assert value("train_loss_drop > 0.2") == 1.5
    assert value("train_loss_drop@9 > 0.2") is None, "no line came by then"
    assert value("eval_loss_rises < 1") == 1
    assert value("grad_norm > 0") == round(1 / 600, 9)
    assert value("eval_loss_rises < 1", "nobody") is None
    broken = log_of({10: 3.0, 20: nan}, [("base", 3.0), ("eval", nan)])
    measured = Measured(losses={}, bases={}, logs={"r": [broken]}, mtbench=Graded(recipes={}, base=[]))
    assert value("eval_loss_rises < 1") == 1


def test_a_withheld_grade_is_no_missing_measurement(tmp_path: Path) -> None:
    """Of one seed the adapter passes, and grades whose answers were cut say that they were."""
    success = (
        {"figure": name, "sign": ">", "bound": -9.0} for name in ("mtbench", "mtbench_gain", "eval_loss")
    )
    record = StudyRecord.model_validate({"study": "s", "runs": [{"name": "r", "success": list(success)}]})
    losses = {"r": {0: example_losses(np.linspace(1, 2, 20))}}
    for withheld, whose in (
        ({"r": "40% of r were cut"}, ["r", "r"]),
        ({BASE: "40% of base were cut"}, [None, BASE]),
    ):
        graded = Graded(recipes={}, base=[], withheld=withheld)
        judged = judge_success(record, Measured(losses=losses, bases={}, logs={}, mtbench=graded))
        for one, name in zip(judged, whose, strict=False):
            assert one.outcome == "not measured"
            assert one.number == (f"40% of {name} were cut" if name else "")
        assert judged[2].outcome == "passed"
        assert judged[2].number.endswith("this adapter (one seed)")


def test_the_docs_list_every_figure_of_a_criterion() -> None:
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    listed = re.findall(
        r"^\| `(\w+)` \| (.*) \|$", page.split("Figures for `success`")[1].split("##")[0], re.M
    )
    assert dict(listed) == FIGURES


def test_a_shipped_study_has_the_criteria_of_its_post_mortem() -> None:
    study = load_study(Path(__file__).parents[2] / "studies" / "qlora-rescue.yaml")
    assert {str(one) for one in study.runs[1].success} == {
        "train_loss_drop > 0.5",
        "eval_loss_drop > 0.2",
        "token_accuracy_gain > 5",
        "grad_norm > 0",
        "train_loss_drop@500 > 0.2",
        "train_loss_drop > 1",
        "perplexity < 6",
        "eval_loss_rises < 1",
    }


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


def test_a_recipe_with_one_seed_takes_the_noise_over_and_says_so(study: Path, tmp_path: Path) -> None:
    """Its interval is the wider for it, by what `compare` says of its noise; without it, an adapter's alone."""
    entries = yaml.safe_load((study / "study.yaml").read_text())
    entries["runs"] = [entry for entry in entries["runs"] if entry["name"] not in ("twin-1", "twin-2")]
    lone = {**entries, "runs": [entry for entry in entries["runs"] if entry["name"] == "twin"]}
    for run in ("twin-1", "twin-2"):
        shutil.rmtree(study / run)
    (study / "study.yaml").write_text(yaml.safe_dump(entries))
    other = tmp_path / "other"
    shutil.copytree(study / "twin", other / "twin")
    (other / "study.yaml").write_text(yaml.safe_dump(lone))

    def outcomes(path: Path, noise: Path | None = None) -> dict[str, Judged]:
        judged = collect_study(path, noise).success
        return {one.criterion.split()[0]: one for one in judged if one.recipe == "twin"}

    alone, here, borrowed = outcomes(other), outcomes(study), outcomes(other, study)
    for figure in ("eval_loss", "eval_loss_drop"):
        assert alone[figure].number.endswith(", this adapter (one seed)")
        assert "adapter" not in here[figure].number
        assert "adapter" not in borrowed[figure].number
    comparison = collect_study(study).comparison
    assert comparison is not None
    assert comparison.family is not None
    difference = comparison.family.between("twin", BASE)
    error = np.hypot(difference.seed_error, difference.unit_error)
    assert comparison.noise is not None
    low, high = (
        float(text) for text in re.findall(r"from ([\d.]+) to ([\d.]+)", here["eval_loss_drop"].number)[0]
    )
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, difference.freedom) * error, rel=1e-2), (
        "its own interval has the error that the comparison with the base has"
    )
    narrow = re.findall(r"from ([\d.]+) to ([\d.]+)", alone["eval_loss_drop"].number)[0]
    assert float(narrow[1]) - float(narrow[0]) < high - low
