"""Formats by name: ours, those of other packages, and what is refused."""

import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from paceline.data.formats import (
    BUILT_IN,
    Conversation,
    RowFormat,
    check_format,
    find_format,
    format_names,
    recognise,
    registry,
)
from paceline.errors import DataError

POEMS = RowFormat(
    "poems",
    ("verse", "answer"),
    lambda row: Conversation.of([{"role": "assistant", "content": row["answer"]}]),
)
HASTY = RowFormat("hasty", ("messages",), lambda row: Conversation.of([]))


@pytest.fixture
def other_packages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Entry points as installed packages would bring them."""
    here = "data.formats.test_registry"
    points = [
        EntryPoint("poems", f"{here}:POEMS", registry.GROUP),
        EntryPoint("hasty", f"{here}:HASTY", registry.GROUP),
        EntryPoint("broken", "no_such_package_of_formats:FORMAT", registry.GROUP),
        EntryPoint("number", "math:pi", registry.GROUP),
    ]

    def give(*names: Any) -> None:
        chosen = EntryPoints(point for point in points if point.name in names)
        monkeypatch.setattr(registry, "entry_points", lambda group: chosen.select(group=group))

    return give


def test_the_page_on_data_lists_every_format() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    listed = re.findall(
        r"^\| `([\w-]+)` \| ([^|]+) \|", page.split("## Formats")[1].split("\n## ")[0], re.MULTILINE
    )
    assert [name for name, _ in listed] == [row_format.name for row_format in BUILT_IN]
    for (name, columns), row_format in zip(listed, BUILT_IN, strict=True):
        assert all(column in columns for column in row_format.columns), name


@pytest.mark.parametrize("row_format", BUILT_IN, ids=lambda row_format: row_format.name)
def test_a_format_is_recognised_by_its_own_columns(row_format: Any) -> None:
    assert recognise([*row_format.columns, "id"], "auto", "x") is row_format
    assert find_format(row_format.name) is row_format


def test_columns_that_fit_nothing_are_refused_with_what_is_known() -> None:
    with pytest.raises(
        DataError, match=r"no format has the columns foo, bar \(known: .*alpaca: instruction, output"
    ):
        recognise(["foo", "bar"], "auto", "x.jsonl")
    with pytest.raises(DataError, match="format alpaca needs column 'instruction'"):
        recognise(["prompt", "completion"], "alpaca", "x.jsonl")


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(DataError, match="no format 'alpacca', did you mean 'alpaca'"):
        check_format("alpacca")


def test_formats_of_other_packages_come_after_ours(other_packages: Any) -> None:
    other_packages("poems", "hasty")
    assert format_names()[-2:] == ["hasty", "poems"]
    assert recognise(["verse", "answer"], "auto", "x") is POEMS
    assert recognise(["messages"], "auto", "x").name == "messages"
    assert recognise(["messages"], "hasty", "x") is HASTY


@pytest.mark.parametrize("name", ["broken", "number"])
def test_a_package_that_gives_no_format_is_refused_in_one_line(other_packages: Any, name: str) -> None:
    other_packages(name)
    check_format(name)
    with pytest.raises(DataError, match=f"^format {name}: ") as caught:
        find_format(name)
    assert "\n" not in str(caught.value)
    assert recognise(["messages"], "auto", "x").name == "messages", "it is in nobody's way"
