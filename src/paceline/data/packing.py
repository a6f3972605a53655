"""Texts without turns as examples of one length: joined where they train, cut into windows where held out."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from paceline.data.cache import Batches, cached_table
from paceline.data.digest import rows_digest
from paceline.data.split import Split
from paceline.data.tokens import TokenDataset, code_digest, ids_digest
from paceline.errors import DataError

# Ids (tokens,) int32 and mask (tokens,) uint8 of a text, or of a part of one.
Tokens = tuple[NDArray[np.int32], NDArray[np.uint8]]
_BATCH = 500


def pack(dataset: TokenDataset, parts: Split, max_length: int) -> tuple[TokenDataset, Split]:
    """The examples that a run on packed texts sees, and its split of them.

    The training texts are joined in their order and cut every `max_length` tokens (TRL's strategy `wrapped`);
    the last example is what is left. Every held-out text is cut into windows of its own.

    Returns:
        Examples whose row, task, part and group are those of the text in which they begin.

    Raises:
        DataError: rows that are no texts.
    """
    refuse_turns(dataset)
    blocks = _texts_of_blocks(dataset.lengths[parts.train], max_length)
    windows = np.repeat(parts.eval, _count_windows(dataset.lengths[parts.eval], max_length))
    texts = np.concatenate([parts.train[blocks], windows])
    schema = dataset.table.features.arrow_schema

    def build() -> Batches:
        joined = wrapped(dataset.examples(parts.train), max_length)
        apart = (cut_windows(text, max_length) for text in dataset.examples(parts.eval))
        examples = chain(islice(joined, len(blocks)), chain.from_iterable(apart))
        for start in range(0, len(texts), _BATCH):
            some = texts[start : start + _BATCH]
            yield pa.RecordBatch.from_pydict(
                _columns(dataset, some, list(islice(examples, len(some)))), schema
            )
        return {}

    content = [rows_digest(dataset, side) for side in (parts.train, parts.eval)]
    key = hashlib.sha256(code_digest() + f"packed {max_length} {content}".encode()).hexdigest()
    table, _ = cached_table(key, lambda: schema, build, "examples packed")
    packed = replace(dataset, table=table, parts=dataset.parts[texts], packed=True)
    everything = np.arange(len(texts))
    return packed, Split(everything[: len(blocks)], everything[len(blocks) :])


def refuse_turns(dataset: TokenDataset) -> None:
    """Refuses rows that hold conversations.

    Raises:
        DataError: always for such rows, with the reason.
    """
    if set(dataset.column("kind").tolist()) != {"text"}:
        raise DataError(
            f"data: packing joins texts without turns (format text), and these rows are {dataset.format}: "
            "conversations are computed without padding as they are, so that packing would save nothing, and "
            "an answer would see what another conversation said; leave data.packing out"
        )


def wrapped(texts: Iterable[Tokens], max_length: int) -> Iterator[Tokens]:
    """Texts laid end to end and cut every max_length tokens; what is left comes last, shorter."""
    ids, mask = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.uint8)
    for more, on in texts:
        ids, mask = np.concatenate([ids, more]), np.concatenate([mask, on])
        whole = len(ids) // max_length * max_length
        for start in range(0, whole, max_length):
            yield ids[start : start + max_length], mask[start : start + max_length]
        ids, mask = ids[whole:], mask[whole:]
    if len(ids):
        yield ids, mask


def cut_windows(text: Tokens, max_length: int) -> Iterator[Tokens]:
    """A text in windows of max_length tokens, each beginning with the last token of the one before it.

    So every token but the text's first is predicted, once. That first token of a window counts there only as
    context: its mask is 0.
    """
    ids, mask = text
    for number in range(int(_count_windows(np.asarray(len(ids)), max_length))):
        start = number * (max_length - 1)
        on = mask[start : start + max_length].copy()
        on[:1] *= number == 0
        yield ids[start : start + max_length], on


def _texts_of_blocks(lengths: NDArray[np.int64], max_length: int) -> NDArray[np.int64]:
    """In which text each block begins (blocks,); a last one of one token predicts nothing and is none."""
    ends = np.cumsum(lengths)
    starts = np.arange(0, ends[-1] - 1, max_length)
    return np.searchsorted(ends, starts, side="right")


def _count_windows(lengths: NDArray[np.int64], max_length: int) -> NDArray[np.int64]:
    return np.maximum(1, -(-(lengths - 1) // (max_length - 1)))


def _columns(
    dataset: TokenDataset, texts: NDArray[np.int64], examples: list[Tokens]
) -> dict[str, list[object]]:
    """Examples as columns of the table, with what they have from the texts in which they begin."""
    made: dict[str, list[object]] = {
        name: dataset.column(name)[texts].tolist() for name in ("row", "task", "group", "kind")
    }
    made["input_ids"] = [ids for ids, _ in examples]
    made["mask"] = [mask for _, mask in examples]
    made["digest"] = [ids_digest(ids) for ids, _ in examples]
    made["first"] = [int(mask.argmax()) if mask.any() else len(mask) for _, mask in examples]
    made["answer"] = [int(mask.sum()) for _, mask in examples]
    made["notes"] = [[] for _ in examples]
    made["removed"] = [0 for _ in examples]
    made["weight"] = [1.0 for _ in examples]
    return made
