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
from paceline.data.encoding import EncodedRow, encode
from paceline.data.formats import RowFormat, find_format, read_row, recognise, renamed
from paceline.data.mixture import SampledSource, choose_rows
from paceline.data.notes import REMOVED
from paceline.data.supervision import Thinking
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
        "group": Value("int64"),
        "kind": Value("string"),
        "notes": List(Value("string")),
        "removed": Value("int64"),
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
        group      64-bit hash of all examples of the row: they stay on one side of the split
        kind       what the row holds: plain, text, multi-turn, thinking, tools
        notes      what is to be said about the row; with its first example
        removed    characters of the assistant's text that the template does not write; with its first example

    `parts` (examples,) says of which part of the mixture each example is, `counts` how many rows each part
    gave. `dropped` are rows without an assistant's turn. `format` names the row formats that were read.
    `loss_on` says which tokens are supervised: the assistant's, or all. `notes` are sentences about rows that
    were not read as a person may expect, with their share.
    """

    table: Dataset
    parts: NDArray[np.int64]
    sources: list[str]
    counts: dict[str, int]
    dropped: list[int]
    format: str
    loss_on: str = "assistant"
    notes: tuple[str, ...] = ()

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
        """One of the small columns (row, task, digest, group, kind, …) as an array (examples,)."""
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
        source, names = part.origin.source, dict(part.origin.columns)
        row_format = recognise(renamed(part.rows.column_names, names, source), part.origin.format, source)
        if row_format.name != "text":
            chat.require_template()
        table = _tokenize(part, row_format, data, chat)
        dropped += np.setdiff1d(part.picked, table.data.column("row").to_numpy()).tolist()
        tables.append(table)
        formats.append(row_format.name)
    picked = sum(len(part.picked) for part in parts)
    if len(dropped) > MAX_DROPPED * picked:
        raise DataError(
            f"data {data.source!r}: {len(dropped)} of {picked} conversations have no assistant turn to learn "
            f"from (first: row {dropped[0] + 1}); at most {MAX_DROPPED:.0%} are dropped without an error"
        )
    table = concatenate_datasets(tables) if len(tables) > 1 else tables[0]
    return TokenDataset(
        table=table,
        parts=np.repeat(np.arange(len(parts)), [len(table) for table in tables]),
        sources=[f"{part.origin.source}:{part.origin.split}" for part in parts],
        counts=_counts(parts),
        dropped=dropped,
        format=", ".join(dict.fromkeys(formats)),
        loss_on=loss_on,
        notes=_notes(table, data, picked),
    )


def _notes(table: Dataset, data: Data, picked: int) -> tuple[str, ...]:
    """What is to be said about rows, each with how many it is true of and the first of them."""
    columns = table.data
    rows, removed = columns.column("row").to_pylist(), columns.column("removed").to_numpy()
    found: dict[str, list[int]] = {}
    for row, notes in zip(rows, columns.column("notes").to_pylist(), strict=True):
        for note in notes:
            found.setdefault(note, []).append(row)
    if removed.any():
        note = REMOVED.format(count=removed.sum())
        found[note] = [rows[place] for place in np.flatnonzero(removed)]
    return tuple(
        f"{note}: {len(where):,} of {picked:,} rows ({len(where) / picked:.1%}), first row {min(where) + 1} "
        f"of {data.source}"
        for note, where in found.items()
    )


def _counts(parts: list[SampledSource]) -> dict[str, int]:
    """Rows of each part by its label, numbered where two have the same."""
    labels = [part.origin.label for part in parts]
    return {
        label if labels.count(label) == 1 else f"{label} ({place})": len(part.picked)
        for place, (label, part) in enumerate(zip(labels, parts, strict=True), 1)
    }


def _tokenize(part: SampledSource, row_format: RowFormat, data: Data, chat: Chat) -> Dataset:
    if len(part.picked) > 5000 and sys.stderr.isatty():
        enable_progress_bars()
    # one process: the tokenizer itself works in threads, and a worker would cost as much memory as all the
    # rest
    return part.rows.select(part.picked).map(
        _encode_rows,
        fn_kwargs={
            "chat": chat,
            "format_name": row_format.name,
            "names": dict(part.origin.columns),
            "thinking": data.thinking,
            "source": part.origin.source,
            "indices_in_source": part.picked,
        },
        with_indices=True,
        batched=True,
        batch_size=500,
        desc="tokenizing",
        remove_columns=part.rows.column_names,
        features=_FEATURES,
        new_fingerprint=_fingerprint(part, row_format.name, data, chat),
    )


def _fingerprint(part: SampledSource, format_name: str, data: Data, chat: Chat) -> str:
    tokenizer = chat.tokenizer.backend_tokenizer.to_str() + str(chat.tokenizer.chat_template)
    sample = json.dumps(
        [
            __version__,
            sorted(_FEATURES),
            part.rows._fingerprint,
            part.origin.subset,
            len(part.picked),
            data.seed,
            format_name,
            part.origin.columns,
            data.thinking,
        ]
    )
    return hashlib.sha256((sample + tokenizer).encode()).hexdigest()[:32]


def _encode_rows(
    batch: dict[str, list[Any]],
    indices: list[int],
    chat: Chat,
    format_name: str,
    names: dict[str, str],
    thinking: Thinking,
    source: str,
    indices_in_source: NDArray[np.int64],
) -> dict[str, list[Any]]:
    row_format = find_format(format_name)
    conversations, kept, tasks = [], [], []
    for offset, index in enumerate(indices):
        row = {name: values[offset] for name, values in batch.items()}
        number = int(indices_in_source[index])
        try:
            conversation, task = read_row(row_format, row, names)
        except DataError as error:
            raise DataError(f"data {source!r} row {number + 1}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"data {source!r} row {number + 1}: not readable as {format_name} "
                f"({type(error).__name__}: {error})"
            ) from error
        if conversation.teaches:
            conversations.append(conversation)
            kept.append(number)
            tasks.append(task)
    made: dict[str, list[Any]] = {name: [] for name in _FEATURES}
    for number, task, encoded in zip(kept, tasks, encode(chat, conversations, thinking), strict=True):
        if isinstance(encoded, DataError):
            raise DataError(f"data {source!r} row {number + 1}: {encoded}") from encoded
        _add(made, encoded, number, task)
    return made


def _add(made: dict[str, list[Any]], encoded: EncodedRow, number: int, task: str) -> None:
    """The examples of a row as rows of the table."""
    group = _digest(b"".join(example.ids.tobytes() for example in encoded.examples))
    for place, example in enumerate(encoded.examples):
        entry = {
            "input_ids": example.ids,
            "mask": example.mask,
            "row": number,
            "task": task,
            "digest": _digest(example.ids.tobytes()),
            "first": int(example.mask.argmax()) if example.mask.any() else len(example.mask),
            "answer": int(example.mask.sum()),
            "group": group,
            "kind": encoded.kind,
            "notes": [] if place else encoded.notes,
            "removed": 0 if place else encoded.removed,
        }
        for name, value in entry.items():
            made[name].append(value)


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)
