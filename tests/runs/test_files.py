"""Files and folders are there whole or not at all."""

import ast
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paceline
from paceline.runs.files import finite_or_null, json_text, read_json, whole_folder, write_json, write_whole


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def fail_half_way(folder: Path) -> None:
    (folder / "a.txt").write_text("half")
    raise KeyError


def test_a_folder_appears_when_its_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with whole_folder(target) as scratch:
        (scratch / "a.txt").write_text("new")
        assert not target.exists()
    assert content(target) == {"a.txt": "new"}
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_new_folder_replaces_the_old_one_with_all_that_was_in_it(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        with whole_folder(tmp_path / "target") as scratch:
            (scratch / name).write_text(name)
    assert content(tmp_path / "target") == {"b.txt": "b.txt"}
    assert len(list(tmp_path.iterdir())) == 1


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with whole_folder(target) as scratch:
        (scratch / "a.txt").write_text("old")
    with pytest.raises(KeyError), whole_folder(target) as scratch:
        fail_half_way(scratch)
    assert content(target) == {"a.txt": "old"}
    with whole_folder(target) as scratch:
        assert content(scratch) == {}, "what a broken attempt left is not taken over"
    assert content(target) == {}


def test_an_exception_leaves_no_folder_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(KeyError), whole_folder(tmp_path / "target"):
        raise KeyError
    assert not (tmp_path / "target").exists()


def test_a_file_is_written_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError("killed before the rename")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="killed"):
            write_whole(path, "new")
    assert path.read_text() == "old"
    write_whole(path, "new")
    assert content(tmp_path) == {"a.txt": "new"}


def test_json_comes_back(tmp_path: Path) -> None:
    written = {"number": 0.1, "text": "é\n", "none": None, "list": [1, {"x": True}]}
    write_json(tmp_path / "a.json", written)
    assert read_json(tmp_path / "a.json") == written


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    )
)
def test_what_is_written_is_json_whatever_the_numbers_are(content: object) -> None:
    """Infinity and NaN are no JSON: readers of other languages end there."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert json.loads(json_text(content), parse_constant=refuse) == json.loads(
        json.dumps(finite_or_null(content))
    )
    assert json_text([math.inf, -math.inf, math.nan, 1.5]) == "[null, null, null, 1.5]"


def test_no_command_or_result_writes_json_of_its_own() -> None:
    """Else a number that is not finite would be printed as one."""
    source = Path(paceline.__file__).parent
    for package in ("cli", "api", "report", "comparison", "stats"):
        for file in (source / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in ("dumps", "dump"):
                    assert not (isinstance(node.value, ast.Name) and node.value.id == "json"), file
