"""Rows from files: which are read, and what is said of those that cannot be."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset

from paceline.config.data import Source
from paceline.data.sources import check_source, load_rows
from paceline.errors import DataError, ServiceError

ROW = {"prompt": "q", "completion": "a"}


def write(path: Any, count: Any = 3) -> None:
    path.write_text("".join(json.dumps({**ROW, "id": i}) + "\n" for i in range(count)))


def test_a_folder_gives_the_files_of_the_split_or_all_of_them(tmp_path: Path) -> None:
    write(tmp_path / "train-0.jsonl")
    write(tmp_path / "train-1.jsonl")
    write(tmp_path / "test.jsonl", 2)
    assert len(load_rows(Source(str(tmp_path)))) == 6
    assert len(load_rows(Source(str(tmp_path), split="test"))) == 2
    with pytest.raises(DataError, match="no file of split 'other'; there are files of test, train"):
        load_rows(Source(str(tmp_path), split="other"))


@pytest.mark.parametrize(
    "names",
    [("trainset", "testset"), ("trainData", "testData"), ("MyTrain", "MyEval"), ("train_split", "valset")],
)
def test_a_split_may_be_named_within_a_word(names: tuple[str, str], tmp_path: Path) -> None:
    write(tmp_path / f"{names[0]}.jsonl")
    write(tmp_path / f"{names[1]}.jsonl", 2)
    assert len(load_rows(Source(str(tmp_path)))) == 3


def test_a_folder_with_brackets_is_itself_in_a_pattern(tmp_path: Path) -> None:
    for folder, count in (("dir [v1]", 3), ("dir v", 1)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "rows.jsonl", count)
    assert len(load_rows(Source(f"{tmp_path}/dir [v1]/*.jsonl"))) == 3
    assert len(load_rows(Source(f"{tmp_path}/dir*/*.jsonl"))) == 4


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    write(tmp_path / "elsewhere" / "more.jsonl", 2)
    write(tmp_path / "data" / "rows.jsonl")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    assert len(load_rows(Source(str(tmp_path / "data")))) == 5
    for name, place in (("latest", "data"), ("again", "elsewhere")):  # a circle, and a second name
        (tmp_path / "data" / name).symlink_to(tmp_path / place)
    assert len(load_rows(Source(str(tmp_path / "data")))) == 5


@pytest.mark.parametrize("field", [{"revision": "v2"}, {"config": "all"}, {"stream_rows": 3}])
def test_what_only_the_hub_has_is_refused_of_a_file(field: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="is for hub data sets, and this is a local file"):
        load_rows(Source(str(tmp_path / "rows.jsonl"), **field))
    with pytest.raises(DataError, match="is for hub data sets, and this is a local file"):
        load_rows(Source(str(tmp_path / "*.jsonl"), **field))


def test_labels_are_their_names(tmp_path: Path) -> None:
    rows = Dataset.from_list([{"prompt": f"q{i}", "completion": i % 2} for i in range(4)])
    file = tmp_path / "rows.parquet"
    rows.cast_column("completion", ClassLabel(names=["no", "yes"])).to_parquet(file)
    assert [row["completion"] for row in load_rows(Source(str(file))).to_list()] == ["no", "yes"] * 2


def test_words_that_only_hold_a_split_s_name_mark_none(tmp_path: Path) -> None:
    write(tmp_path / "contest.jsonl")
    write(tmp_path / "dataset.jsonl")
    write(tmp_path / "retrieval.jsonl")
    assert len(load_rows(Source(str(tmp_path)))) == 9


def test_a_parquet_type_that_is_not_known_is_one_line(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["q"], "m": pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string()))})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet: cannot be read: Arrow type map"):
        load_rows(Source(str(tmp_path / "rows.parquet")))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", "", "the file is empty"),
        ("broken.jsonl", '{"a": 1}\n{"a": \n', "line 2: broken JSON"),
        ("list.json", "[1, 2", "broken JSON"),
        ("rows.txt", "x", "files of type .txt"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: Any, message: Any) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_rows(Source(str(tmp_path / name)))


@pytest.mark.parametrize("source", ["nowhere.jsonl", "./nowhere", "/no/where", "embedded:rost"])
def test_what_can_only_be_a_file_is_missed_without_asking_the_hub(source: Any) -> None:
    for ask in (check_source, load_rows):
        with pytest.raises(DataError, match="no such"):
            ask(Source(source))


def test_a_hub_that_cannot_be_reached_is_no_fault_of_the_data() -> None:
    check_source(Source("some/dataset"))
    with pytest.raises(
        ServiceError, match="data 'some/dataset': no such file here, and the hub cannot be reached"
    ):
        load_rows(Source("some/dataset"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ValueError('Unknown split "trian". Should be one of'),
            "no split 'trian', did you mean 'train'.; there are train, test",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("no dataset x"),
            "neither a local file nor a data set that the hub gives",
        ),
    ],
)
def test_what_the_hub_does_not_have_is_a_fault_of_the_data(
    monkeypatch: pytest.MonkeyPatch, error: Any, message: Any
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *arguments, **options: ["train", "test"])
    with pytest.raises(DataError, match=message):
        load_rows(Source("some/dataset", split="trian"))
