"""Loading, checking, planning, rehearsing and generating from Python."""

from pathlib import Path
from typing import Any

import pytest
from tiny_studies import tiny_recipe

import paceline

STUDY = (
    "study: two\nrecipe: {base: embedded, data: 'embedded:rust'}\nruns: [{name: a}, {name: b, lr: 1e-3}]\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Any:
    (tmp_path / "two.yaml").write_text(STUDY)
    return tmp_path / "two.yaml"


def test_fields_go_over_a_file(file: Any) -> None:
    study = paceline.load_study(str(file), max_steps=3, data={"n": 40})
    assert [(run.recipe.lr, run.recipe.max_steps, run.recipe.data.n) for run in study.runs] == [
        (2e-4, 3, 40),
        (1e-3, 3, 40),
    ]
    with pytest.raises(paceline.ConfigError, match="max_step"):
        paceline.load_study(file, max_step=3)
    file.write_text("base: embedded\ndata: 'embedded:rust'\n")
    assert paceline.load_recipe(file, lr=1e-4).lr == 1e-4


def test_a_rehearsal_is_a_study_on_the_embedded_base(file: Any) -> None:
    study = paceline.rehearse(file)
    assert study.name == "rehearsal-two"
    assert {run.recipe.base for run in study.runs} == {"embedded"}


def test_a_recipe_is_checked_as_well_as_a_study() -> None:
    rules = [finding.rule for finding in paceline.check(tiny_recipe(lr=10.0))]
    assert rules[0] == "rate-out-of-range"
    with pytest.raises(paceline.ConfigError, match="cannot be read"):
        paceline.check("no-such.yaml")


def test_a_plan_estimates_every_run() -> None:
    (cohort,) = paceline.plan(tiny_recipe())
    assert [(run.name, run.steps) for run in cohort.runs] == [("run", 4)]
    assert 0 < cohort.total < cohort.available


def test_every_adapter_answers_every_prompt_whatever_shares_its_batch(trained: Any) -> None:
    adapters = paceline.load_adapter(trained[1].folder, with_base=True)
    talk = [{"role": "user", "content": "Explain gcd."}]
    answers = paceline.generate(adapters, ["What is a slice?", talk], max_new_tokens=6)
    assert [(answer.run, answer.messages[0]["content"]) for answer in answers] == [
        (run, text) for run in ("base", "high", "low") for text in ("What is a slice?", "Explain gcd.")
    ]
    assert all(answer.tokens <= 6 and answer.finish in ("stop", "length") for answer in answers)
    (alone,) = paceline.generate(trained[1]["high"].directory.path, talk[0]["content"], max_new_tokens=6)
    assert alone == next(a for a in answers if a.run == "high" and a.messages == talk)
    assert str(alone) == alone.text
    with pytest.raises(paceline.ConfigError, match="no prompt"):
        paceline.generate(adapters, [])


def test_two_runs_of_one_name_are_refused() -> None:
    run = paceline.Run(name="twin", recipe=tiny_recipe())
    with pytest.raises(ValueError, match="run name 'twin' is used twice"):
        paceline.Study(name="twins", runs=[run, run])


def test_a_path_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(paceline.ModelError, match="no adapter there"):
        paceline.load_adapter(tmp_path)


def test_a_rehearsal_runs_no_code_where_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal needs Python alone: no compiler, no sandbox."""

    def no_compiler(suite: object) -> list[Path]:
        raise paceline.EvaluationError("the Rust suite needs rustc")

    monkeypatch.setattr("paceline.evaluate.code.rust.RustSuite.toolchain", no_compiler)
    study = paceline.rehearse(Path(__file__).parents[2] / "studies" / "rust-five-recipes.yaml")
    assert not any(run.recipe.eval.code for run in study.runs)
    assert study.notes[-1].startswith(
        "generated code is not run in this rehearsal: the Rust suite needs rustc"
    )
