"""Token data sets: tokenized once, cached under what decides the tokens, and memory-mapped."""

import hashlib
import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
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
from paceline.data.chat import Chat, Encoded
from paceline.data.formats import Messages, Row, RowFormat, recognise
from paceline.data.mixture import SampledSource, choose_rows
from paceline.data.rows import ReadRow
from paceline.errors import DataError
from paceline.version import __version__

NO_ANSWER = "without an assistant turn"
_BATCH = 500
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
    gave. `dropped` are rows without an assistant's turn, `bad` all rows that could not be used, those
    included. `unused` are columns that nothing was read from, `notes` what else is to be said of the rows.
    `format` names the row formats that were read. `loss_on` says which tokens are supervised: the
    assistant's, or all.
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

    @cached_property
    def content_digest(self) -> str:
        """SHA-256, in hex, of all examples' ids and masks and of the rows they are of, in their order."""
        digest = hashlib.sha256()
        columns = self.table.select_columns(["row", "input_ids", "mask"]).with_format("numpy")
        for batch in columns.iter(1000):
            for row, ids, mask in zip(batch["row"], batch["input_ids"], batch["mask"], strict=True):
                digest.update(np.int64(row).tobytes() + np.int64(len(ids)).tobytes())
                digest.update(np.asarray(ids, np.int32).tobytes() + np.asarray(mask, np.uint8).tobytes())
        return digest.hexdigest()

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
        row_format = recognise(part.rows.columns, part.origin.format, part.origin.source)
        table, facts = _tokenize(part, row_format, chat)
        bad += part.rows.bad
        unusable = [
            (index, BadRow(part.rows.where(index), kind, reason)) for index, kind, reason in facts["bad"]
        ]
        refuse_too_many(
            part.origin.source, [row for _, row in unusable], len(part.picked), part.origin.max_bad_rows
        )
        bad += [row for _, row in unusable]
        dropped += [index for index, row in unusable if row.kind == NO_ANSWER]
        unused += _unused(part, facts["used"])
        tables.append(table)
        formats.append(row_format.name)
    return TokenDataset(
        table=concatenate_datasets(tables) if len(tables) > 1 else tables[0],
        parts=np.repeat(np.arange(len(parts)), [len(table) for table in tables]),
        sources=[f"{part.origin.source}:{part.origin.split}" for part in parts],
        counts=_counts(parts),
        dropped=dropped,
        format=", ".join(dict.fromkeys(formats)),
        loss_on=loss_on,
        bad=tuple(dict.fromkeys(bad)),  # parts of one file share its broken lines
        unused=tuple(dict.fromkeys(unused)),
        notes=tuple(
            f"{part.origin.label}: all {len(part.picked):,} rows there are, {part.asked:,} were asked for"
            for part in parts
            if part.asked is not None
        ),
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


def _tokenize(part: SampledSource, row_format: RowFormat, chat: Chat) -> tuple[Dataset, dict[str, Any]]:
    """The examples of a part's rows; the facts are its bad rows and the columns that were read."""
    schema = _FEATURES.arrow_schema

    def build() -> Batches:
        bad: list[tuple[int, str, str]] = []
        used: set[str] = set()
        for start in range(0, len(part.picked), _BATCH):
            picked = part.picked[start : start + _BATCH]
            numbered = list(zip(picked.tolist(), map(ReadRow, part.rows.read(picked)), strict=True))
            encoded = _encode_rows(numbered, chat, row_format, bad)
            used.update(*(row.used for _, row in numbered))
            yield pa.RecordBatch.from_pydict(encoded, schema)
        return {"bad": sorted(bad), "used": sorted(used)}

    return cached_table(_fingerprint(part, row_format, chat), lambda: schema, build)


def _fingerprint(part: SampledSource, row_format: RowFormat, chat: Chat) -> str:
    key = hashlib.sha256(_code_digest())
    # a format of another package changes without our version
    key.update(Path(inspect.getfile(row_format.messages)).read_bytes())
    key.update(json.dumps([part.rows.key, row_format.name]).encode())
    key.update(part.picked.tobytes())
    key.update((chat.tokenizer.backend_tokenizer.to_str() + str(chat.tokenizer.chat_template)).encode())
    return key.hexdigest()


@cache
def _code_digest() -> bytes:
    """Digest of the code that makes tokens of rows."""
    digest = hashlib.sha256(__version__.encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _encode_rows(
    rows: Sequence[tuple[int, Row]], chat: Chat, row_format: RowFormat, bad: list[tuple[int, str, str]]
) -> dict[str, list[Any]]:
    """The examples of numbered rows as columns; bad ones go to `bad` as (number, kind, reason)."""
    conversations, kept, tasks = [], [], []
    for number, row in rows:
        try:
            messages = row_format.messages(row)
            if any(m["role"] == "assistant" and m["content"].strip() for m in messages):
                tasks.append(row_format.task(row))
                conversations.append(messages)
                kept.append(number)
            else:
                bad.append((number, NO_ANSWER, "no assistant turn to learn from"))
        except DataError as error:
            bad.append((number, f"not readable as {row_format.name}", str(error)))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            reason = f"not readable as {row_format.name} ({type(error).__name__}: {error})"
            bad.append((number, f"not readable as {row_format.name}", reason))
    encoded = _encode(conversations, chat) if conversations else []
    made: list[tuple[Encoded, int, str]] = []
    for example, number, task in zip(encoded, kept, tasks, strict=True):
        if isinstance(example, DataError):
            bad.append((number, "not rendered by the template", str(example)))
        else:
            made.append((example, number, task))
    examples = [example for example, _, _ in made]
    return {
        "input_ids": [e.ids for e in examples],
        "mask": [e.mask for e in examples],
        "row": [number for _, number, _ in made],
        "task": [task for _, _, task in made],
        "digest": [
            int.from_bytes(hashlib.blake2b(e.ids.tobytes(), digest_size=8).digest(), "big", signed=True)
            for e in examples
        ],
        "first": [int(e.mask.argmax()) if e.mask.any() else len(e.mask) for e in examples],
        "answer": [int(e.mask.sum()) for e in examples],
    }


def _encode(conversations: list[Messages], chat: Chat) -> list[Encoded | DataError]:
    """Each conversation's tokens, or why it has none."""
    try:
        return list(chat.encode(conversations))
    except DataError as error:
        if len(conversations) == 1:
            return [error]
        middle = len(conversations) // 2
        return _encode(conversations[:middle], chat) + _encode(conversations[middle:], chat)


def write_bad_rows(dataset: TokenDataset) -> Path | None:
    """The file that lists the bad rows, a JSON line each; None if there are none."""
    if not dataset.bad:
        return None
    lines = "".join(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in dataset.bad)
    digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
    path = cache_folder() / f"bad-rows-{digest}.jsonl"
    path.write_text(lines)
    return path
