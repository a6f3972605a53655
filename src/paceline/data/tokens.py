"""Token data sets: tokenized once, in parallel, cached as Arrow files and memory-mapped."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value
from numpy.typing import NDArray

from paceline import __version__
from paceline.config.recipe import Data
from paceline.data.chat import Chat
from paceline.data.formats import FORMATS, recognise
from paceline.data.sources import load_rows
from paceline.errors import UserError

MAX_DROPPED = 0.05
_FEATURES = Features(
    {
        "input_ids": List(Value("int32")), "mask": List(Value("uint8")), "row": Value("int64"), "task": Value("string"),
        "digest": Value("int64"), "first": Value("int64"),
    }
)  # fmt: skip


@dataclass(frozen=True)
class TokenDataset:
    """Tokenized examples in the order of the seeded sample. Nothing is cut here: `max_length` belongs to a run.

    `table` has the columns input_ids (list of int32), mask (list of uint8, 1 = supervised), row (place in the source), task, digest
    (64-bit hash of the ids), first (place of the first supervised token). `dropped` are the source's rows that held no assistant turn. `format` is the row format that was read.
    """

    table: Dataset
    dropped: list[int]
    format: str

    def __len__(self) -> int:
        return len(self.table)

    def example(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """(ids, mask) of one example, whole."""
        entry = self._numpy[int(index)]
        return entry["input_ids"], entry["mask"]

    @cached_property
    def _numpy(self) -> Dataset:
        return self.table.select_columns(["input_ids", "mask"]).with_format("numpy")

    def column(self, name: str) -> NDArray[Any]:
        """One of the small columns (row, task, digest, first) as an array."""
        return np.asarray(self.table.data.column(name).to_numpy())

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example before any cut."""
        return np.asarray(pc.list_value_length(self.table.data.column("input_ids")).to_numpy())

    @property
    def tasks(self) -> list[str]:
        return [str(task) for task in self.column("task")]


def load_tokens(data: Data, chat: Chat) -> TokenDataset:
    """Loads, samples and tokenizes a source; the result is cached under the source's fingerprint, the tokenizer and the options.

    Raises:
        UserError: as `load_rows`; a row that its format cannot read (with its number); more than 5% without an assistant turn.
    """
    rows = load_rows(data)
    format_name = recognise(rows.column_names, data.format, data.source)
    picked = np.random.default_rng([data.seed, 0]).permutation(len(rows))[: data.n]
    key = _fingerprint(rows, data, format_name, chat)
    workers = min(os.cpu_count() or 1, 1 + len(picked) // 5000)
    table = rows.select(picked).map(
        _encode_rows,
        fn_kwargs={"chat": chat, "format_name": format_name, "source": data.source, "places": picked},
        with_indices=True,
        batched=True,
        batch_size=500,
        num_proc=workers if workers > 1 else None,
        remove_columns=rows.column_names,
        features=_FEATURES,
        new_fingerprint=key,
    )
    dropped = np.setdiff1d(picked, table.data.column("row").to_numpy()).tolist()
    if len(dropped) > MAX_DROPPED * len(picked):
        raise UserError(
            f"data {data.source!r}: {len(dropped)} of {len(picked)} conversations have no assistant turn to learn from (first: row {dropped[0] + 1}); at most 5% are dropped silently"
        )
    return TokenDataset(table, dropped, format_name)


def _fingerprint(rows: Dataset, data: Data, format_name: str, chat: Chat) -> str:
    tokenizer = chat.tokenizer.backend_tokenizer.to_str() + str(chat.tokenizer.chat_template)
    said = json.dumps([__version__, rows._fingerprint, format_name, data.n, data.seed])
    return hashlib.sha256((said + tokenizer).encode()).hexdigest()[:32]


def _encode_rows(
    batch: dict[str, list[Any]], indices: list[int], chat: Chat, format_name: str, source: str, places: NDArray[np.int64]
) -> dict[str, list[Any]]:
    row_format = FORMATS[format_name]
    conversations, kept, tasks = [], [], []
    for offset, index in enumerate(indices):
        row = {name: values[offset] for name, values in batch.items()}
        number = int(places[index])
        try:
            messages = row_format.messages(row)
            if any(m["role"] == "assistant" and m["content"].strip() for m in messages):
                conversations.append(messages)
                kept.append(number)
                tasks.append(row_format.task(row))
        except UserError as error:
            raise UserError(f"data {source!r} row {number + 1}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"data {source!r} row {number + 1}: not readable as {format_name} ({type(error).__name__}: {error})") from error
    encoded = chat.encode(conversations) if conversations else []
    return {
        "input_ids": [e.ids for e in encoded],
        "mask": [e.mask for e in encoded],
        "row": kept,
        "task": tasks,
        "digest": [int.from_bytes(hashlib.blake2b(e.ids.tobytes(), digest_size=8).digest(), "big", signed=True) for e in encoded],
        "first": [int(e.mask.argmax()) if e.mask.any() else len(e.mask) for e in encoded],
    }
