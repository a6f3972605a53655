"""Files of records, whole or line by line."""

from pathlib import Path

import pytest

from paceline.errors import RunError
from paceline.runs.evaluations import Judgment
from paceline.runs.records import read_records, write_records


def test_a_torn_last_line_is_left_out_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    judgments = [Judgment(run="a", id=str(i), category="c", turn=0, rating=5.0, reply="ü") for i in range(3)]
    path = tmp_path / "j.jsonl"
    write_records(path, judgments)
    assert read_records(path, Judgment) == judgments
    path.write_bytes(path.read_bytes()[:-7])
    assert read_records(path, Judgment) == judgments[:2]
    path.write_text('{"run": "a"}\n')
    with pytest.raises(
        RunError, match=r"j.jsonl line 1: not a result that this version reads \(id: Field required"
    ):
        read_records(path, Judgment)
    assert read_records(tmp_path / "none.jsonl", Judgment) == []
