"""Task rows out of Rust code."""

import ast
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from paceline import embedded
from paceline.data.formats.strandset import TASKS
from paceline.data.rust.edits import bugs
from paceline.data.rust.rows import make_rows
from paceline.errors import PacelineError

CRATE = Path(__file__).parents[3] / "examples" / "kitbag"
KEYS = {
    "code_review": {"code_before", "code_context"},
    "bug_detection": {"buggy_code", "code_context"},
    "code_generation": {"title", "description"},
    "code_completion": {"prefix", "suffix"},
    "code_search": {"query", "code_context"},
    "test_generation": {"code_to_test", "test_context"},
    "code_refactoring": {"code_before", "code_context"},
    "code_optimization": {"code_before", "code_context"},
}


@pytest.fixture(scope="module")
def rows() -> Any:
    return make_rows(CRATE, seed=0)


def test_the_embedded_sample_is_what_the_command_makes(rows: Any) -> None:
    assert pq.read_table(embedded.RUST).to_pylist() == rows
    assert len(rows) >= 1500


def test_every_category_has_rows_with_its_own_fields(rows: Any) -> None:
    assert {row["task_category"] for row in rows} == set(TASKS)
    for row in rows:
        given, wanted = ast.literal_eval(row["input_data"]), json.loads(row["output_data"])
        assert set(given) == KEYS.get(row["task_category"], {"code"})
        assert set(wanted) == set(TASKS[row["task_category"]][1])
        assert all(wanted.values())


def test_a_completion_fits_between_prefix_and_suffix(rows: Any) -> None:
    originals = {
        json.loads(row["output_data"])["code"] for row in rows if row["task_category"] == "code_generation"
    }
    completions = [row for row in rows if row["task_category"] == "code_completion"]
    for row in completions:
        given, wanted = ast.literal_eval(row["input_data"]), json.loads(row["output_data"])
        whole = given["prefix"] + wanted["completion"] + given["suffix"]
        assert any(whole.endswith(code) for code in originals)


def test_a_planted_bug_changes_the_code_and_names_what_stands_there(rows: Any) -> None:
    code = "fn f(a: i32) -> bool {\n    a <= 3 && a > 0\n}"
    assert {edit.code.split("\n")[1].strip() for edit in bugs(code)} == {
        "a < 3 && a > 0",
        "a <= 4 && a > 0",
        "a <= 3 || a > 0",
        "a <= 3 && a >= 0",
        "a <= 3 && a > 1",
    }
    assert any("`a < 3` uses `<` in place of `<=`" in edit.explanation for edit in bugs(code))
    for row in rows:
        if row["task_category"] == "bug_detection":
            assert (
                ast.literal_eval(row["input_data"])["buggy_code"]
                != json.loads(row["output_data"])["fixed_code"]
            )


def test_a_folder_without_rust_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PacelineError, match="no Rust source"):
        make_rows(tmp_path, 0)
