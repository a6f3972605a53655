"""How long a run will be, told before anything is tokenized."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline.config.load import make_recipe
from paceline.errors import DataError, ServiceError
from paceline.training.prepare import Preparer
from paceline.training.run_length import RunLength, run_length


def length(data: Any, **fields: Any) -> Any:
    return run_length(
        make_recipe({"base": "b", "data": data, "batch_size": 4, "grad_accum": 1, **fields}, "r")
    )


def test_rows_of_a_file_are_counted_and_a_number_is_believed(sums: str) -> None:
    assert length(sums) == RunLength(train=216, steps=54, coverage=1.0)
    assert length({"source": sums, "sample_ratio": 0.5}) == RunLength(train=108, steps=27, coverage=1.0)
    assert length({"source": "some/dataset", "n": 100}, epochs=2) == RunLength(
        train=90, steps=46, coverage=2.0
    )
    assert length({"source": "some/dataset", "n": 100}, max_steps=9).coverage == pytest.approx(0.4)


def test_a_subset_counts_its_own_rows() -> None:
    general, both = (
        length({"source": "embedded:twix", "subset": subset}).train for subset in ("general", "both")
    )
    assert 0 < general < both


def test_what_the_hub_alone_knows_is_left_open() -> None:
    assert length("some/dataset") == RunLength()
    assert length("some/dataset", max_steps=7) == RunLength(steps=7)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere.jsonl", "no such file or folder"),
        ({"source": "nowhere.jsonl", "n": 10}, "no such file or folder"),
        ({"source": "embedded:twix", "subset": "generl"}, "no subset 'generl', did you mean 'general'"),
        ({"source": "some/dataset", "format": "alpacca"}, "no format 'alpacca', did you mean 'alpaca'"),
        ({"source": "s", "mix": [{"ratio": 1, "source": "gone.csv"}]}, "data 'gone.csv': no such file"),
    ],
)
def test_a_fault_of_the_data_is_told(data: Any, message: Any) -> None:
    with pytest.raises(DataError, match=message):
        length(data)


def test_showing_a_study_or_the_presets_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("recipe: {base: embedded, data: 'embedded:twix'}\nruns: [{name: a}]\n")
    for command in (["study", "show", str(tmp_path / "s.yaml")], ["presets"]):
        code = (
            f"import sys; sys.argv = ['paceline', *{command!r}]\n"
            "from paceline.cli.main import main\n"
            "try: main()\nexcept SystemExit as end: assert not end.code\n"
            "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", command


PHASES = {
    "understanding": ["code_explanation", "code_summarization", "code_review", "bug_detection"],
    "annotation": ["docstring_generation", "comment_generation", "function_naming", "variable_naming"],
}


@pytest.mark.parametrize("tasks", [["understanding"], ["annotation"], ["annotation", "code_review"]])
def test_a_phase_of_a_curriculum_has_the_length_that_it_trains_for(tasks: list[str]) -> None:
    """As the tokenized data has it."""
    fields = {
        "base": "embedded",
        "data": {"source": "embedded:rust", "n": 400, "eval_ratio": 0.2},
        "max_length": 4096,
        "train_tasks": tasks,
        "phases": PHASES,
    }
    recipe = make_recipe(fields, "r")
    prepared = Preparer().prepare(recipe)
    assert run_length(recipe) == RunLength(prepared.facts.train, prepared.plan.total_steps, 1.0)


def out_of_reach_of(monkeypatch: pytest.MonkeyPatch, reader: str) -> list[str]:
    """Lets what reads rows find no hub; the sources that it is asked for."""
    asked: list[str] = []

    def ask(data: Any) -> Any:
        asked.append(data.source)
        raise ServiceError("no hub")

    monkeypatch.setattr(f"paceline.training.run_length.{reader}", ask)
    return asked


def test_a_phase_on_the_hub_out_of_reach_is_left_open_and_the_hub_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = out_of_reach_of(monkeypatch, "training_tasks")
    data = {"source": "some/phases", "n": 100}
    phases = [["generation"], ["annotation"]]
    assert [length(data, train_tasks=phase, max_steps=3) for phase in phases] == [RunLength(steps=3)] * 2
    assert asked == ["some/phases"]


def test_runs_on_different_rows_of_a_source_out_of_reach_ask_for_it_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = out_of_reach_of(monkeypatch, "choose_rows")
    data = {"source": "some/rows"}
    recipes = [
        make_recipe({"base": "embedded", "data": {**data, "sample_ratio": share}}, "r")
        for share in (0.5, 0.25)
    ]
    out_of_reach: set[str] = set()
    assert [run_length(recipe, out_of_reach) for recipe in recipes] == [RunLength()] * 2
    assert asked == ["some/rows"]
    assert out_of_reach == {"some/rows"}


def test_a_misspelt_phase_is_told(sums: str) -> None:
    with pytest.raises(DataError, match="no task or phase 'understandin', did you mean 'understanding'"):
        length("embedded:rust", train_tasks=["understandin"], phases=PHASES)
