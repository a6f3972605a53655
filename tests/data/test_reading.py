"""From files to rows: letter for letter, by line feeds, of the right split, bad rows counted."""

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.config.data import Data, Source
from paceline.data.bad_rows import BadRow, refuse_too_many
from paceline.data.cache import cache_folder
from paceline.data.chat import Chat, load_tokenizer
from paceline.data.digest import rows_digest
from paceline.data.paths import find_files
from paceline.data.read_text import read_text_rows
from paceline.data.sources import load_rows
from paceline.data.text import read_json, text_of, write_json
from paceline.data.tokens import load_tokens, write_bad_rows
from paceline.errors import DataError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4), min_size=1, max_size=4)
CELLS = st.integers(1, 3).flatmap(
    lambda width: st.tuples(
        st.lists(TEXT.filter(bool), min_size=width, max_size=width, unique=True),
        st.lists(st.lists(TEXT, min_size=width, max_size=width), min_size=1, max_size=4),
    )
)
relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows_of(path: Path) -> list[Any]:
    return [row.fields if row.fields is not None else row.reason for row in read_text_rows(path)]


@relaxed
@given(ROWS, st.booleans(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_json_comes_back_letter_for_letter(
    tmp_path: Path, rows: list[Any], escaped: bool, end: str, mark: str
) -> None:
    texts = [json.dumps(row, ensure_ascii=escaped) for row in rows]
    lines = (mark + "".join(text + end for text in texts)).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.jsonl.zst").write_bytes(pa.Codec("zstd").compress(lines, asbytes=True))
    (tmp_path / "a.json").write_bytes((mark + "[" + ", ".join(texts) + "]").encode())
    (tmp_path / "b.json").write_bytes((mark + json.dumps(rows, indent=2)).encode())
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "b.json"):
        assert rows_of(tmp_path / name) == rows, name


@relaxed
@given(CELLS, st.sampled_from([("csv", ","), ("tsv", "\t")]), st.sampled_from(["", "\ufeff"]))
def test_cells_are_text(tmp_path: Path, cells: Any, kind: tuple[str, str], mark: str) -> None:
    names, lines = cells
    path = tmp_path / f"a.{kind[0]}"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(mark)
        writer = csv.writer(file, delimiter=kind[1], quoting=csv.QUOTE_ALL)
        writer.writerows([names, *lines])
    assert rows_of(path) == [dict(zip(names, line, strict=True)) for line in lines]


@relaxed
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_parquet_text_is_text(tmp_path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"prompt": texts}), tmp_path / "a.parquet")
    assert load_rows(Source(str(tmp_path / "a.parquet"))).to_list() == [{"prompt": text} for text in texts]


@relaxed
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=30))
def test_a_path_is_a_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.jsonl"
    path.write_text('{"a": 1}\n')
    assert find_files(str(path), path, "train") == [path]


@pytest.mark.parametrize(
    "digits", ["0", "-0", "0.0", "1.50", "1e5", "1E+400", "12345678901234567890123", "9" * 5000]
)
def test_numbers_keep_their_digits(digits: str) -> None:
    assert text_of(read_json(digits)) == digits
    assert write_json(read_json(f'{{"a": [{digits}, null]}}')) == f'{{"a": [{digits}, null]}}'


@pytest.mark.parametrize("value", [None, 0.5, b"x", np.datetime64("2024-03-01")])
def test_what_has_no_text_in_the_file_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"column 'output' is .*, not text"):
        text_of(value, "column 'output'")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": NaN}', "NaN is no JSON value"),
        (b'{"a": 1, "a": 2}', "key 'a' twice"),
        (b'{"a": "\\ud83d"}', "half of a surrogate pair"),
        (b'{"a": "\xe9"}', "not UTF-8"),
        (b"[1]", "expected an object"),
        (b'{"a": ', "broken JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_named_after_separators_that_are_text(tmp_path: Path, line: bytes, reason: str) -> None:
    good = '{"a": "x\u2028\x85\\u000b\x0c"}\n'.encode()
    path = tmp_path / "a.jsonl"
    path.write_bytes(good * 20 + line + b"\n" + good * 4)
    rows = load_rows(Source(str(path)))
    assert len(rows) == 24
    assert rows[0] == {"a": "x\u2028\x85\x0b\x0c"}
    (bad,) = rows.bad
    assert bad.where == f"{path} line 21"
    assert reason in bad.reason
    with pytest.raises(DataError, match=r"line 21: .*1 of 25 rows cannot be used"):
        load_rows(Source(str(path), max_bad_rows=0))


@pytest.mark.parametrize(
    ("bad", "rows", "limit", "refused"),
    [
        (1, 21, "5%", False),
        (1, 10, "5%", False),
        (1, 5, "5%", True),
        (2, 21, "5%", True),
        (5, 100, "5%", False),
        (6, 100, "5%", True),
        (1, 100, "0%", True),
        (3, 4, 3, False),
    ],
)
def test_how_many_bad_rows_pass(bad: int, rows: int, limit: Any, refused: bool) -> None:
    found = [BadRow("f line 1", "broken JSON", "it broke")] * bad
    if refused:
        with pytest.raises(DataError, match="f line 1: it broke"):
            refuse_too_many("f", found, rows, limit)
    else:
        refuse_too_many("f", found, rows, limit)


@pytest.mark.parametrize(("given", "read"), [("5%", "5%"), (0.05, "5%"), ("0.05", "5%"), (3, 3), ("3", 3)])
def test_a_limit_is_a_share_or_a_number(given: Any, read: Any) -> None:
    assert Data(source="s", max_bad_rows=given).max_bad_rows == read


@pytest.mark.parametrize(
    ("names", "split", "chosen"),
    [
        (["train/a.jsonl", "test/a.jsonl"], "train", ["train/a.jsonl"]),
        (["train_1.jsonl", "test_1.jsonl", "validation.jsonl"], "test", ["test_1.jsonl"]),
        (
            ["a/train-00000-of-00001.jsonl", "a/test-00000-of-00001.jsonl"],
            "train",
            ["a/train-00000-of-00001.jsonl"],
        ),
        (["rows.jsonl", "foo_test.jsonl"], "train", ["rows.jsonl"]),
        (["dev.jsonl", "train.jsonl"], "validation", ["dev.jsonl"]),
        (["contest.jsonl", "latest.jsonl", ".hidden.jsonl"], "train", ["contest.jsonl", "latest.jsonl"]),
        (["train.jsonl", "other.jsonl"], "train", "no name says whose split"),
        (["train/test_1.jsonl"], "train", "marked as test and train"),
        (["test.jsonl"], "train", "no file of split 'train'"),
        (["a.jsonl"], "test", "no file of split 'test'"),
        (["a.jsonl", "a.csv"], "train", "files of type"),
    ],
)
def test_splits_are_kept_apart(tmp_path: Path, names: list[str], split: str, chosen: Any) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"a": 1}\n')
    for source in (tmp_path, tmp_path / "**" / "*"):
        if isinstance(chosen, str):
            with pytest.raises(DataError, match=chosen):
                find_files(str(source), source, split)
        else:
            assert find_files(str(source), source, split) == [tmp_path / name for name in chosen]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "UTF-16"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-9], "cut off or damaged"),
        ("a.csv", b'a,b\n"x', "line 2: broken CSV"),
        ("a.csv", b"a,a\n1,2\n", "two columns are called 'a'"),
        ("a.json", b'[{"a": 1},\n{"a": }]', "line 2: broken JSON"),
        ("a.json", b'[{"a": 1}', "broken JSON"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_rows(Source(str(tmp_path / name)))


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("embedded"))


def answers(path: Path, chat: Chat) -> list[str]:
    tokens = load_tokens(Data(source=str(path)), chat)
    in_order = np.argsort(tokens.column("row"))
    pairs = [tokens.example(i) for i in in_order]
    return [chat.tokenizer.decode(ids[mask == 1]).split("</think>\n\n")[-1] for ids, mask in pairs]


def test_a_changed_file_is_read_anew_and_a_touched_one_is_not(
    tmp_path: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # other tests write to the shared cache meanwhile
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    cache_folder.cache_clear()
    request.addfinalizer(cache_folder.cache_clear)
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "q", "completion": "aaa"}\n')
    before = path.stat()
    assert answers(path, chat) == ["aaa<|im_end|>"]
    stored = {file: file.stat().st_mtime_ns for file in cache_folder().iterdir()}
    os.utime(path, (1, 1))
    assert answers(path, chat) == ["aaa<|im_end|>"]
    assert stored == {file: file.stat().st_mtime_ns for file in cache_folder().iterdir()}
    path.write_text('{"prompt": "q", "completion": "bbb"}\n')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert answers(path, chat) == ["bbb<|im_end|>"]


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-20] + b"x" * 20, lambda raw: b""]
)
def test_a_damaged_cache_is_built_again(tmp_path: Path, chat: Chat, damage: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": str(tmp_path), "completion": "aaa"}) + "\n")
    known = set(cache_folder().iterdir())
    digest = rows_digest(load_tokens(Data(source=str(path)), chat), np.arange(1))
    for file in set(cache_folder().iterdir()) - known:
        raw = file.read_bytes()
        file.unlink()  # an open table keeps the old file
        file.write_bytes(damage(raw))
    assert rows_digest(load_tokens(Data(source=str(path)), chat), np.arange(1)) == digest


def test_bad_rows_and_unused_columns_are_told(tmp_path: Path, chat: Chat) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "q", "completion": "a", "note": "n"} for _ in range(40)]
    rows[20] = {"prompt": "q", "completion": None}
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in rows[:30])
        + "{\n"
        + "".join(json.dumps(row) + "\n" for row in rows[30:])
    )
    tokens = load_tokens(Data(source=str(path)), chat)
    assert len(tokens) == 39
    assert tokens.unused == ("note",)
    listed = write_bad_rows(tokens)
    assert listed is not None
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    assert {line["where"] for line in lines} == {f"{path} line 21", f"{path} line 31"}


def test_a_folder_of_save_to_disk(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list([{"prompt": "q", "completion": "a"}])
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "two"))
    for name in ("one", "two"):
        assert load_rows(Source(str(tmp_path / name))).to_list() == rows.to_list()
    with pytest.raises(DataError, match="no split 'dev'"):
        load_rows(Source(str(tmp_path / "two"), split="dev"))
