"""Files of records, whole or line by line."""

from pathlib import Path

import pytest

from paceline.errors import RunError
from paceline.runs.evaluations import Judgment
from paceline.runs.records import read_record, read_records, write_record, write_records
from paceline.runs.seals import FILE, damaged_results, seal, unseal


def test_a_torn_last_line_is_left_out_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    judgments = [Judgment(run="a", id=str(i), category="c", turn=0, rating=5.0, reply="ü") for i in range(3)]
    path = tmp_path / "j.jsonl"
    path.write_text("".join(judgment.to_json() + "\n" for judgment in judgments))
    assert read_records(path, Judgment) == judgments
    path.write_bytes(path.read_bytes()[:-7])
    assert read_records(path, Judgment) == judgments[:2]
    path.write_text('{"run": "a"}\n')
    with pytest.raises(
        RunError, match=r"j.jsonl line 1: not a result that this version reads \(id: Field required"
    ):
        read_records(path, Judgment)
    assert read_records(tmp_path / "none.jsonl", Judgment) == []


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_what_is_written_whole_is_read_as_it_was_written_or_refused(damage: str, tmp_path: Path) -> None:
    judgments = [Judgment(run="a", id=str(i), category="c", turn=0, rating=5.0, reply="ü") for i in range(3)]
    one, many = tmp_path / "one.json", tmp_path / "many.jsonl"
    write_record(one, judgments[0])
    write_records(many, judgments)
    assert (read_record(one, Judgment), read_records(many, Judgment)) == (judgments[0], judgments)
    assert damaged_results(tmp_path) == []
    lines = many.read_bytes().splitlines(keepends=True)
    many.write_bytes(b"".join(lines[:2]) if damage == "cut" else many.read_bytes().replace(b"5.0", b"7.0", 1))
    with pytest.raises(RunError, match=r"many.jsonl is not as it was written"):
        read_records(many, Judgment)
    assert damaged_results(tmp_path) == ["many.jsonl"]
    one.unlink()
    assert set(damaged_results(tmp_path)) == {"one.json", "many.jsonl"}
    write_records(many, judgments[:1])
    assert read_records(many, Judgment) == judgments[:1]


def test_a_kill_between_the_seal_and_the_file_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    judgment = Judgment(run="a", id="1", category="c", turn=0, rating=5.0, reply="")
    write_records(path, [judgment])
    before = path.read_bytes()
    write_records(path, [judgment, judgment])
    path.write_bytes(before)
    assert read_records(path, Judgment) == [judgment]


def test_a_file_that_grows_has_its_seal_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    judgment = Judgment(run="a", id="1", category="c", turn=0, rating=5.0, reply="")
    write_records(path, [judgment])
    unseal(path)
    path.write_text(path.read_text() * 2)
    assert read_records(path, Judgment) == [judgment] * 2
    seal(path)
    path.write_text("")
    assert damaged_results(tmp_path) == ["j.jsonl"]
    (tmp_path / FILE).write_text("{")
    assert damaged_results(tmp_path) == [FILE]
