"""Token data sets: tokenized once, cached under what decides the tokens, and memory-mapped."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, List, Value, concatenate_datasets
from numpy.typing import NDArray

from paceline.config.data import Data
from paceline.data.bad_rows import BadRow, refuse_too_many
from paceline.data.cache import Batches, cache_folder, cached_table
from paceline.data.chat import Chat
from paceline.data.encoding import EncodedRow, encode
from paceline.data.formats import (
    WEIGHT,
    WEIGHTS,
    Conversation,
    Row,
    RowFormat,
    code_of,
    read_row,
    recognise,
    renamed,
)
from paceline.data.mixture import SampledSource, choose_rows
from paceline.data.notes import REMOVED, UNUSED_WEIGHT
from paceline.data.supervision import Thinking
from paceline.data.tokenizer_digest import template_digest, tokenizer_digest
from paceline.errors import DataError
from paceline.version import __version__

NO_ANSWER = "without an assistant turn"
NOT_FOUND = "without an answer in the template's text"
_BATCH, _READ_AT_ONCE = 500, 256
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
        "weight": Value("float64"),
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
        weight     of the row; 1 where rows have none

    `parts` (examples,) says of which part of the mixture each example is, `counts` how many rows each part
    gave. `dropped` are rows without an assistant's turn, `bad` all rows that could not be used, those
    included. `unused` are columns that nothing was read from, `notes` sentences about rows that were not read
    as a person may expect, with their share. `format` names the row formats that were read. `loss_on` says
    which tokens are supervised: the assistant's, or all. `packed` examples are made of texts by
    `paceline.data.packing`; several may be windows of one text. `weighted`: a column gives the rows weights.
    """

    table: Dataset
    parts: NDArray[np.int64]
    sources: list[str]
    counts: dict[str, int]
    dropped: list[int]
    format: str
    loss_on: str = "assistant"
    bad: tuple[BadRow, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    packed: bool = False
    weighted: bool = False

    def __len__(self) -> int:
        return len(self.table)

    def example(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """(ids (tokens,) int32, mask of supervised tokens (tokens,) uint8) of one example, whole."""
        return next(self.examples([index]))

    def examples(
        self, indices: Iterable[int] | NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint8]]]:
        """The same of many examples, which takes a tenth of the time."""
        waiting = map(int, indices)
        while block := list(islice(waiting, _READ_AT_ONCE)):
            rows = self._arrow[block]  # Arrow's own `take` copies the whole column first
            ids, masks = (rows.column(name).to_numpy() for name in ("input_ids", "mask"))
            if self.loss_on != "assistant":
                masks = map(np.ones_like, masks)
            yield from zip(ids, masks, strict=True)

    @cached_property
    def _arrow(self) -> Dataset:
        return self.table.select_columns(["input_ids", "mask"]).with_format("arrow")

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

    @cached_property
    def weights(self) -> NDArray[np.float64] | None:
        """What an example's supervised tokens count in a run's loss (examples,); None: all the same."""
        return self.column("weight") if self.weighted else None

    def tasks(self, indices: NDArray[np.int64]) -> list[str]:
        """Names of the tasks of some examples."""
        codes, names = self._tasks
        return [names[code] for code in codes[indices].tolist()]

    @cached_property
    def _tasks(self) -> tuple[NDArray[np.int32], list[str]]:
        """(place of each example's task among the names (examples,), the names)."""
        column = self.table.data.column("task")
        encoded = pc.dictionary_encode(column, null_encoding="encode").unify_dictionaries()
        names = encoded.chunk(0).dictionary.to_pylist()
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
        return codes, [str(name) for name in names]


@dataclass(frozen=True)
class Tokenized:
    """The examples of chosen rows of one part, and what was found while they were read.

    `bad` holds (index in the source, why) of rows that could not be used; `used` the columns that were read.
    """

    table: Dataset
    format: str
    bad: list[tuple[int, BadRow]]
    used: list[str]


def load_tokens(data: Data, chat: Chat, loss_on: str = "assistant") -> TokenDataset:
    """Loads, samples and tokenizes a source or a mixture.

    The tokens are cached under the rows' content, the tokenizer, the code and what decides the sample;
    `loss_on` does not change them.

    Raises:
        DataError: as `choose_rows` and `recognise`; more bad rows than `max_bad_rows`, with the first.
        ServiceError: the hub cannot be reached.
    """
    parts = choose_rows(data)
    tables, dropped, unused, formats = [], [], [], []
    bad: list[BadRow] = []
    for part in parts:
        source = part.origin.source
        made = tokenize(part, data, chat)
        bad += part.rows.bad
        refuse_too_many(source, [row for _, row in made.bad], len(part.picked), part.origin.max_bad_rows)
        bad += [row for _, row in made.bad]
        dropped += [index for index, row in made.bad if row.kind == NO_ANSWER]
        unused += _unused(part, made.used)
        tables.append(made.table)
        formats.append(made.format)
    table = concatenate_datasets(tables) if len(tables) > 1 else tables[0]
    if not len(table):
        why = f"; {bad[0].where}: {bad[0].reason}" if bad else ""
        raise DataError(f"data {data.source!r}: no example is left to learn from{why}")
    return TokenDataset(
        table=table,
        parts=np.repeat(np.arange(len(parts)), [len(table) for table in tables]),
        sources=[f"{part.origin.source}:{part.origin.split}" for part in parts],
        counts=_counts(parts),
        dropped=dropped,
        format=", ".join(dict.fromkeys(formats)),
        loss_on=loss_on,
        bad=tuple(dict.fromkeys(bad)),  # parts of one file share its broken lines
        unused=tuple(dict.fromkeys(unused)),
        notes=(
            *_shortages(parts),
            *_notes(table, data, sum(len(part.picked) for part in parts)),
            *(UNUSED_WEIGHT.format(column=column) for column in WEIGHTS if column in unused),
        ),
        weighted=any(WEIGHT in dict(part.origin.columns) for part in parts),
    )


def _shortages(parts: list[SampledSource]) -> list[str]:
    """The parts of a mixture that have fewer rows than were asked for."""
    return [
        f"{part.origin.label}: all {len(part.picked):,} rows there are, {part.asked:,} were asked for"
        for part in parts
        if part.asked is not None
    ]


def _notes(table: Dataset, data: Data, picked: int) -> tuple[str, ...]:
    """What is to be said about rows, each with how many it is true of and the first of them."""
    columns = table.data
    rows, removed = columns.column("row").to_numpy(), columns.column("removed").to_numpy()
    noted = np.flatnonzero(pc.list_value_length(columns.column("notes")).to_numpy())  # few of many
    found: dict[str, list[int]] = {}
    said = columns.column("notes").take(pa.array(noted)).to_pylist()
    for row, notes in zip(rows[noted].tolist(), said, strict=True):
        for note in notes:
            found.setdefault(note, []).append(row)
    if removed.any():
        note = REMOVED.format(count=removed.sum())
        found[note] = rows[np.flatnonzero(removed)].tolist()
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


def _unused(part: SampledSource, used: Iterable[str]) -> list[str]:
    known = {*used, "subset"} if part.origin.subset is not None else set(used)
    return [column for column in part.rows.columns if column not in known]


def tokenize(part: SampledSource, data: Data, chat: Chat) -> Tokenized:
    """The examples of chosen rows, from the cache where they are there.

    Raises:
        DataError: as `recognise`; a chat format without a template.
    """
    source, names = part.origin.source, dict(part.origin.columns)
    row_format = recognise(renamed(part.rows.columns, names, source), part.origin.format, source)
    if row_format.name != "text":
        chat.require_template()
    table, facts = _tokenize(part, row_format, data, chat)
    bad = [(index, BadRow(part.rows.where(index), kind, reason)) for index, kind, reason in facts["bad"]]
    return Tokenized(table, row_format.name, bad, facts["used"])


def _tokenize(
    part: SampledSource, row_format: RowFormat, data: Data, chat: Chat
) -> tuple[Dataset, dict[str, Any]]:
    """The examples of a part's rows; the facts are its bad rows and the columns that were read."""
    schema = _FEATURES.arrow_schema
    names = dict(part.origin.columns)

    def build() -> Batches:
        bad: list[tuple[int, str, str]] = []
        used: set[str] = set()
        for start in range(0, len(part.picked), _BATCH):
            picked = part.picked[start : start + _BATCH]
            numbered = list(zip(picked.tolist(), part.rows.read(picked), strict=True))
            conversations = _read(numbered, row_format, names, bad)
            used.update(*(conversation.columns for _, conversation, _ in conversations))
            encoded = _encode(conversations, chat, data.thinking, bad)
            yield pa.RecordBatch.from_pydict(encoded, schema)
        return {"bad": sorted(bad), "used": sorted(used)}

    return cached_table(_fingerprint(part, row_format, data, chat), lambda: schema, build, "rows tokenized")


def _fingerprint(part: SampledSource, row_format: RowFormat, data: Data, chat: Chat) -> str:
    key = hashlib.sha256(code_digest())
    for file in code_of(row_format):
        key.update(file.read_bytes())
    key.update(json.dumps([part.rows.key, row_format.name, part.origin.columns, data.thinking]).encode())
    key.update(part.picked.tobytes())
    key.update((tokenizer_digest(chat) + template_digest(chat)).encode())
    return key.hexdigest()


@cache
def code_digest() -> bytes:
    """Digest of the code that makes tokens of rows."""
    digest = hashlib.sha256(__version__.encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _read(
    rows: Sequence[tuple[int, Row]],
    row_format: RowFormat,
    names: dict[str, str],
    bad: list[tuple[int, str, str]],
) -> list[tuple[int, Conversation, str]]:
    """(number, what it says, task) of numbered rows; bad ones go to `bad` as (number, kind, reason)."""
    kind = f"not readable as {row_format.name}"
    read = []
    for number, row in rows:
        try:
            conversation, task = read_row(row_format, row, names)
        except DataError as error:
            bad.append((number, kind, str(error)))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            bad.append((number, kind, f"{kind} ({type(error).__name__}: {error})"))
        else:
            if conversation.teaches:
                read.append((number, conversation, task))
            else:
                bad.append((number, NO_ANSWER, "no assistant turn to learn from"))
    return read


def _encode(
    read: list[tuple[int, Conversation, str]], chat: Chat, thinking: Thinking, bad: list[tuple[int, str, str]]
) -> dict[str, list[Any]]:
    """The examples of conversations as columns; those that the template refuses go to `bad`."""
    made: dict[str, list[Any]] = {name: [] for name in _FEATURES}
    encoded = encode(chat, [conversation for _, conversation, _ in read], thinking)
    for (number, conversation, task), one in zip(read, encoded, strict=True):
        if isinstance(one, DataError):
            bad.append((number, "not rendered by the template", str(one)))
        elif not one.examples:
            reason = "what the chat template writes of the answer cannot be told from the rest"
            bad.append((number, NOT_FOUND, reason))
        else:
            _add(made, one, number, task, conversation.weight)
    return made


def _add(made: dict[str, list[Any]], encoded: EncodedRow, number: int, task: str, weight: float) -> None:
    """The examples of a row as rows of the table."""
    group = _digest(b"".join(example.ids.tobytes() for example in encoded.examples))
    for place, example in enumerate(encoded.examples):
        entry = {
            "input_ids": example.ids,
            "mask": example.mask,
            "row": number,
            "task": task,
            "digest": ids_digest(example.ids),
            "first": int(example.mask.argmax()) if example.mask.any() else len(example.mask),
            "answer": int(example.mask.sum()),
            "group": group,
            "kind": encoded.kind,
            "notes": [] if place else encoded.notes,
            "removed": 0 if place else encoded.removed,
            "weight": weight,
        }
        for name, value in entry.items():
            made[name].append(value)


def ids_digest(ids: NDArray[np.int32]) -> int:
    """64-bit hash of an example's ids."""
    return _digest(ids.tobytes())


def _digest(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)


def write_bad_rows(dataset: TokenDataset) -> Path | None:
    """The file that lists the bad rows, a JSON line each; None if there are none."""
    if not dataset.bad:
        return None
    lines = "".join(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in dataset.bad)
    digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
    path = cache_folder() / f"bad-rows-{digest}.jsonl"
    path.write_text(lines)
    return path
