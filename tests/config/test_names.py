"""Names of runs and studies: one plain part of a path, from a file, a flag or Python alike."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paceline.config.load import load_study, make_recipe
from paceline.config.names import check_name, check_run_name
from paceline.config.study import Run, Study
from paceline.errors import ConfigError
from paceline.runs.study import read_study_record

BAD: list[Any] = [
    "", ".", "..", "../x", "/x", "a/b", "a\\b", ".hidden", " a", "a ", "a\nb", "a\0b", "\x1b[31m", "[/x]",
    "a:b", "x" * 201, "й" * 101, "~", "*", "-x", "\u202ea", "\ud800", 5, None, ["a"],
]  # fmt: skip
TAKEN = ["study.yaml", "Study.YAML", "eval", "base", "report.md", "report.html"]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_plain_name_is_refused_everywhere(name: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        check_run_name(name)
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()
    recipe = make_recipe({"base": "b", "data": "d"}, "test")
    with pytest.raises(ConfigError, match="run name"):
        Run(name=name, recipe=recipe)
    with pytest.raises(ConfigError, match="study name"):
        Study(name=name, runs=[Run(name="a", recipe=recipe)])


@pytest.mark.parametrize("name", TAKEN)
def test_what_has_a_meaning_in_a_study_is_refused_for_a_run(name: str) -> None:
    with pytest.raises(ConfigError, match="is taken"):
        check_run_name(name)


@pytest.mark.parametrize("name", ["a", "lr-1e-4", "r=8,a=16", "Большой шаг", "run (2)", "v1.0", "_x", "7"])
def test_plain_names_pass(name: str) -> None:
    assert check_run_name(name) == name


@given(st.text())
@example("a/../b")
def test_a_name_that_passes_is_a_single_part_of_a_path(name: str) -> None:
    try:
        check_name(name, "run name")
    except ConfigError:
        return
    assert Path("runs", name).parts == ("runs", name)
    assert Path("runs", name).resolve().parent == Path("runs").resolve()
    assert name.isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("study: ../../x\nruns: [{name: a, base: b, data: d}]", "study name '../../x' is a path"),
        ("study: 5\nruns: [{name: a, base: b, data: d}]", "study name must be a text, not 5"),
        ("runs: [{name: /abs/x, base: b, data: d}]", "run 1 (/abs/x): run name '/abs/x' is a path"),
        ("runs: [{name: 5, base: b, data: d}]", "run 1 (5): run name must be a text, not 5"),
    ],
)
def test_a_study_file_is_named_with_its_run(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_study(file)
    assert str(refused.value).startswith(f"{file}: {said}")


def test_the_record_of_somebody_elses_study_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study: s\nruns: [{name: ../../etc}]")
    with pytest.raises(ConfigError, match="is a path"):
        read_study_record(tmp_path)
