"""The rows of a source, on disk, as they stand in its files."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray

from paceline.config.fields import Fields
from paceline.data.bad_rows import BadRow
from paceline.data.text import own_keys, read_json


@dataclass(frozen=True)
class Rows:
    """Rows with all their fields, letter for letter.

    Args:
        table: memory-mapped. Rows of text files are columns `text` (JSON), `file`, `line` and `subset`; rows
            of Parquet and of the hub are their own columns.
        key: digest of the content.
        columns: names of all fields that any row has, in the order in which they appear.
        files: the text files, which `file` counts from 0; none where rows have types of their own.
        bad: rows of the files that could not be read, and are not in the table.
    """

    table: Dataset
    key: str
    columns: tuple[str, ...]
    files: tuple[str, ...] = ()
    bad: tuple[BadRow, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Fields:
        return self.read([index])[0]

    def read(self, indices: Iterable[int]) -> list[Fields]:
        """The rows of some indices."""
        batch = self.table[[int(index) for index in indices]]
        if self.files:
            return [read_json(text) for text in batch["text"]]
        for name, values in batch.items():
            if isinstance(label := self.table.features[name], ClassLabel):
                has = [value is not None and value >= 0 for value in values]
                batch[name] = [label.int2str(v) if on else None for v, on in zip(values, has, strict=True)]
        names = list(batch)
        return [
            {name: own_keys(value) for name, value in zip(names, values, strict=True)}
            for values in zip(*batch.values(), strict=True)
        ]

    def where(self, index: int) -> str:
        """File and line of a row, or its number where it has none."""
        if not self.files:
            return f"row {index + 1}"
        row = self.table.select_columns(["file", "line"])[int(index)]
        return f"{self.files[row['file']]} line {row['line']}"

    def subsets(self) -> NDArray[np.object_]:
        """What each row's column `subset` says (rows,); None where it says nothing."""
        return np.asarray(self.table.data.column("subset").to_numpy())

    def select(self, indices: NDArray[np.int64]) -> "Rows":
        """Some of the rows, in that order."""
        return replace(self, table=self.table.select(indices), bad=())

    def to_list(self) -> list[dict[str, Any]]:
        """All rows."""
        return self.read(range(len(self)))
