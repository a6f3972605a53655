"""Digests follow content, whatever a file's name, size and times say."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.runs import digests
from paceline.runs.digests import file_digest, path_digest, value_digest


def test_another_content_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a" * 1000)
    before, seen = file_digest(path), path.stat()
    other = tmp_path / "other"
    other.write_bytes(b"a" * 999 + b"b")
    os.utime(other, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (seen.st_size, seen.st_mtime_ns)
    assert file_digest(path) != before


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 640, 1000])
def test_pieces_are_read_whole_and_in_order(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "PIECE", 64)
    content = bytes(i % 251 for i in range(size))
    path = tmp_path / "file"
    path.write_bytes(content)
    pieces = [hashlib.sha256(content[start : start + 64]).digest() for start in range(0, size, 64)]
    assert file_digest(path) == hashlib.sha256(b"".join(pieces)).hexdigest()[:32]


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    first = file_digest(path)
    monkeypatch.setattr(os, "pread", lambda *arguments: 1 / 0)
    assert file_digest(path) == first


def test_a_folder_is_its_files_and_their_names(tmp_path: Path) -> None:
    for folder, name in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("same")
    a, b, c = (path_digest(tmp_path / folder) for folder in "abc")
    assert a == b != c
    assert path_digest(tmp_path / "a" / "x") == file_digest(tmp_path / "b" / "x")


@given(st.dictionaries(st.text(), st.integers()), st.dictionaries(st.text(), st.integers()))
def test_values_have_one_digest(one: dict[str, int], other: dict[str, int]) -> None:
    assert value_digest(one) == value_digest(dict(reversed(one.items())))
    assert (value_digest(one) == value_digest(other)) == (one == other)
