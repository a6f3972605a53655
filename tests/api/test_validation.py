"""Validate: bad rows by place and fault, of a data set and of a study's data."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from paceline.api.validation import validate
from paceline.cli.main import app
from paceline.errors import ConfigError, DataError

GOOD = {"prompt": "q", "completion": "a"}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two good rows among three bad ones."""
    lines = [json.dumps(GOOD), "{", json.dumps({**GOOD, "prompt": None}), json.dumps({**GOOD, "prompt": "p"})]
    lines.append(json.dumps({"prompt": "q", "completion": ""}))
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_bad_row_is_there_with_its_line_and_fault(rows: Path) -> None:
    found = validate(rows)
    (source,) = found.sources
    assert (source.rows, source.good, source.format) == (5, 2, "prompt-completion")
    assert {row.where.rpartition(" ")[2]: row.reason for row in source.bad} == {
        "2": "broken JSON (Expecting property name enclosed in double quotes at column 2)",
        "3": "column 'prompt' is missing or null",
        "5": "no assistant turn to learn from",
    }
    assert not found.is_valid


def test_the_command_exits_with_1_for_bad_rows_and_0_for_good_ones(rows: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["validate", str(rows), "--json"])
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert (said["valid"], len(said["sources"][0]["bad"])) == (False, 3)
    good = tmp_path / "good.jsonl"
    good.write_text(json.dumps(GOOD) + "\n")
    done = CliRunner().invoke(app, ["validate", str(good)])
    assert done.exit_code == 0
    assert "1 of 1 rows are good, read as prompt-completion" in done.stdout


def test_a_file_of_nothing_but_broken_lines_is_all_bad(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text("a\nb\n")
    (source,) = validate(path).sources
    assert (source.rows, source.good) == (2, 0)


def test_a_studys_data_is_validated_once_for_each_way_of_reading_it(rows: Path, tmp_path: Path) -> None:
    study, good = tmp_path / "study.yaml", tmp_path / "good.jsonl"
    good.write_text(json.dumps(GOOD) + "\n")
    study.write_text(
        f"recipe: {{base: embedded, data: '{rows}'}}\n"
        f"runs: [{{name: a}}, {{name: b, lr: 1e-3}}, {{name: c, data: '{good}'}}]\n"
    )
    assert [(found.source, found.good) for found in validate(study).sources] == [
        (str(rows), 2),
        (str(good), 1),
    ]
    study.write_text("runs: [{name: a}]")
    with pytest.raises(ConfigError, match="no data is named"):
        validate(study)


def test_no_file_and_no_known_format_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        validate(tmp_path / "none.jsonl")
    path = tmp_path / "odd.jsonl"
    path.write_text('{"alpha": 1, "beta": 2}\n')
    with pytest.raises(DataError, match="no format has the columns alpha, beta"):
        validate(path)
