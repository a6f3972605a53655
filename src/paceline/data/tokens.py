"""Token data sets: tokenized once, on all cores, cached as Arrow files and memory-mapped."""

import hashlib
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value, concatenate_datasets, enable_progress_bars
from numpy.typing import NDArray

from paceline.config.data import Data
from paceline.data.chat import Chat
from paceline.data.formats import RowFormat, find_format, recognise
from paceline.data.mixture import SampledSource, choose_rows
from paceline.errors import DataError
from paceline.version import __version__

MAX_DROPPED = 0.05
_FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "mask": List(Value("uint8")),
        "row": Value("int64"),
        "task": Value("string"),
        "digest": Value("int64"),
        "first": Value("int64"),
        "answer": Value("int64"),
    }
)


@dataclass(frozen=True)
class TokenDataset:
    """Tokenized examples in the order of the seeded sample, uncut: `max_length` belongs to a run.

    `table` has a row for each example:

        input_ids  list of int32
        mask       list of uint8, 1 for the assistant's tokens
        row        index of the source's row, from 0
        task       name
        digest     64-bit hash of the ids
        first      index of the assistant's first token
        answer     number of the assistant's tokens

    `parts` (examples,) says of which part of the mixture each example is, `counts` how many rows each part
    gave. `dropped` are rows without an assistant's turn. `format` names the row formats that were read.
    `loss_on` says which tokens are supervised: the assistant's, or all.
    """

    table: Dataset
    parts: NDArray[np.int64]
    sources: list[str]
    counts: dict[str, int]
    dropped: list[int]
    format: str
    loss_on: str = "assistant"

    def __len__(self) -> int:
        return len(self.table)

    def example(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """(ids (tokens,) int32, mask of supervised tokens (tokens,) uint8) of one example, whole."""
        entry = self._numpy[int(index)]
        mask = entry["mask"]
        return entry["input_ids"], mask if self.loss_on == "assistant" else np.ones_like(mask)

    @cached_property
    def _numpy(self) -> Dataset:
        return self.table.select_columns(["input_ids", "mask"]).with_format("numpy")

    def column(self, name: str) -> NDArray[Any]:
        """One of the small columns (row, task, digest, first, answer) as an array (examples,)."""
        return np.asarray(self.table.data.column(name).to_numpy())

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example before any cut (examples,)."""
        return np.asarray(pc.list_value_length(self.table.data.column("input_ids")).to_numpy())

    @property
    def first(self) -> NDArray[np.int64]:
        """Index of each example's first supervised token (examples,)."""
        return self.column("first") if self.loss_on == "assistant" else np.zeros(len(self), dtype=np.int64)

    @cached_property
    def supervised(self) -> NDArray[np.int64]:
        """Supervised tokens of each example before any cut (examples,)."""
        return self.column("answer") if self.loss_on == "assistant" else self.lengths

    @property
    def tasks(self) -> list[str]:
        """Name of each example's task."""
        return [str(task) for task in self.column("task")]


def load_tokens(data: Data, chat: Chat, loss_on: str = "assistant") -> TokenDataset:
    """Loads, samples and tokenizes a source or a mixture.

    The tokens are cached under the rows' fingerprint, the tokenizer and what decides the sample; `loss_on`
    does not change them.

    Raises:
        DataError: as `choose_rows` and `recognise`; a row that its format cannot read (with its number); more
            than 5% without an assistant's turn.
        ServiceError: the hub cannot be reached.
    """
    parts = choose_rows(data)
    tables, dropped, formats = [], [], []
    for part in parts:
        row_format = _format(part)
        table = tokenize(part, data.seed, chat)
        dropped += np.setdiff1d(part.picked, table.data.column("row").to_numpy()).tolist()
        tables.append(table)
        formats.append(row_format.name)
    picked = sum(len(part.picked) for part in parts)
    if len(dropped) > MAX_DROPPED * picked:
        raise DataError(
            f"data {data.source!r}: {len(dropped)} of {picked} conversations have no assistant turn to learn "
            f"from (first: row {dropped[0] + 1}); at most {MAX_DROPPED:.0%} are dropped without an error"
        )
    return TokenDataset(
        table=concatenate_datasets(tables) if len(tables) > 1 else tables[0],
        parts=np.repeat(np.arange(len(parts)), [len(table) for table in tables]),
        sources=[f"{part.origin.source}:{part.origin.split}" for part in parts],
        counts=_counts(parts),
        dropped=dropped,
        format=", ".join(dict.fromkeys(formats)),
        loss_on=loss_on,
    )


def _counts(parts: list[SampledSource]) -> dict[str, int]:
    """Rows of each part by its label, numbered where two have the same."""
    labels = [part.origin.label for part in parts]
    return {
        label if labels.count(label) == 1 else f"{label} ({place})": len(part.picked)
        for place, (label, part) in enumerate(zip(labels, parts, strict=True), 1)
    }


def tokenize(part: SampledSource, sample: int | str, chat: Chat) -> Dataset:
    """The tokens of chosen rows, from the cache where they are there.

    Args:
        sample: with the number of rows, what tells these from other rows of the same source.
    """
    row_format = _format(part)
    if len(part.picked) > 5000 and sys.stderr.isatty():
        enable_progress_bars()
    # one process: the tokenizer itself works in threads, and a worker would cost as much memory as all the
    # rest
    return part.rows.select(part.picked).map(
        _encode_rows,
        fn_kwargs={
            "chat": chat,
            "format_name": row_format.name,
            "source": part.origin.source,
            "indices_in_source": part.picked,
        },
        with_indices=True,
        batched=True,
        batch_size=500,
        desc="tokenizing",
        remove_columns=part.rows.column_names,
        features=_FEATURES,
        new_fingerprint=_fingerprint(part, row_format.name, sample, chat),
    )


def _format(part: SampledSource) -> RowFormat:
    return recognise(part.rows.column_names, part.origin.format, part.origin.source)


def _fingerprint(part: SampledSource, format_name: str, sample: int | str, chat: Chat) -> str:
    tokenizer = chat.tokenizer.backend_tokenizer.to_str() + str(chat.tokenizer.chat_template)
    rows = json.dumps(
        [__version__, part.rows._fingerprint, part.origin.subset, len(part.picked), sample, format_name]
    )
    return hashlib.sha256((rows + tokenizer).encode()).hexdigest()[:32]


def _encode_rows(
    batch: dict[str, list[Any]],
    indices: list[int],
    chat: Chat,
    format_name: str,
    source: str,
    indices_in_source: NDArray[np.int64],
) -> dict[str, list[Any]]:
    row_format = find_format(format_name)
    conversations, kept, tasks = [], [], []
    for offset, index in enumerate(indices):
        row = {name: values[offset] for name, values in batch.items()}
        number = int(indices_in_source[index])
        try:
            messages = row_format.messages(row)
            if any(m["role"] == "assistant" and m["content"].strip() for m in messages):
                conversations.append(messages)
                kept.append(number)
                tasks.append(row_format.task(row))
        except DataError as error:
            raise DataError(f"data {source!r} row {number + 1}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"data {source!r} row {number + 1}: not readable as {format_name} "
                f"({type(error).__name__}: {error})"
            ) from error
    encoded = chat.encode(conversations) if conversations else []
    return {
        "input_ids": [e.ids for e in encoded],
        "mask": [e.mask for e in encoded],
        "row": kept,
        "task": tasks,
        "digest": [
            int.from_bytes(hashlib.blake2b(e.ids.tobytes(), digest_size=8).digest(), "big", signed=True)
            for e in encoded
        ],
        "answer": [int(e.mask.sum()) for e in encoded],
        "first": [int(e.mask.argmax()) if e.mask.any() else len(e.mask) for e in encoded],
    }
