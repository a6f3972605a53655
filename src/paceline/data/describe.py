"""Facts about a token data set that a person wants before training on it."""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from paceline.data.bad_rows import count_kinds
from paceline.data.chat import Chat
from paceline.data.split import Split
from paceline.data.tokens import TokenDataset, write_bad_rows
from paceline.errors import DataError

LIMITS = (512, 1024, 2048)


@dataclass(frozen=True)
class DataSummary:
    """A data set in figures, and some of its examples.

    Args:
        rows: examples.
        format: the row formats that were read.
        read: rows that gave them.
        dropped: rows without an assistant's turn.
        bad_rows: rows that could not be used, by kind of fault, those without a turn included.
        first_bad: where the first of them stands, and its fault.
        bad_rows_file: the file that lists them.
        unused_columns: columns that nothing was read from.
        kinds: examples of each kind of row: plain, text, multi-turn, thinking, tools.
        notes: what is to be said about rows that were not read as a person may expect.
        tasks: examples of each task, the largest first.
        length: tokens of an example: p50, p95, p99, max.
        fits: share of the examples that fit a number of tokens.
        examples: an example of each kind as (text, whether it is supervised), in order.
        packed: where texts are packed, how many of them `train` and are `held_out`, and the `examples` and
            `windows` that they become.
        weights: where rows have weights, the examples' `min`, `mean` and `max`, and how many are `zero`.
    """

    rows: int
    read: int
    format: str
    dropped: int
    kinds: dict[str, int]
    notes: tuple[str, ...]
    tasks: dict[str, int]
    length: dict[str, int]
    fits: dict[int, float]
    bad_rows: dict[str, int]
    first_bad: str | None
    bad_rows_file: str | None
    unused_columns: list[str]
    examples: dict[str, list[tuple[str, bool]]]
    packed: dict[str, int] | None = None
    weights: dict[str, float] | None = None


def describe(
    dataset: TokenDataset,
    chat: Chat,
    example: int | None = None,
    packed: tuple[TokenDataset, Split] | None = None,
) -> DataSummary:
    """The summary of a data set, with the first example of each kind of row, or only that of an index.

    Args:
        packed: what `paceline.data.packing` makes of the data set; the example is one of these then.

    Raises:
        DataError: no such example.
    """
    seen = packed[0] if packed else dataset
    if example is not None and not 0 <= example < len(seen):
        raise DataError(f"--example {example + 1}: there are {len(seen)} examples")
    kinds = seen.table.data.column("kind")
    shown = (
        {kind: pc.index(kinds, kind).as_py() for kind in kinds.unique().to_pylist()}
        if example is None
        else {kinds[example].as_py(): example}
    )
    lengths = dataset.lengths
    return DataSummary(
        rows=len(dataset),
        read=len(np.unique(np.stack([dataset.parts, dataset.column("row")]), axis=1).T),
        format=dataset.format,
        dropped=len(dataset.dropped),
        kinds=_counted(dataset, "kind"),
        notes=dataset.notes,
        tasks=_counted(dataset, "task"),
        length={
            **{f"p{p}": int(np.percentile(lengths, p)) for p in (50, 95, 99)},
            "max": int(lengths.max()),
        },
        fits={limit: float((lengths <= limit).mean()) for limit in LIMITS},
        examples={kind: supervised_spans(seen, chat, place) for kind, place in shown.items()},
        bad_rows=count_kinds(dataset.bad),
        first_bad=f"{dataset.bad[0].where}: {dataset.bad[0].reason}" if dataset.bad else None,
        bad_rows_file=str(listed) if (listed := write_bad_rows(dataset)) else None,
        unused_columns=list(dataset.unused),
        packed=_packed(dataset, *packed) if packed else None,
        weights=None if dataset.weights is None else _spread(dataset.weights),
    )


def _counted(dataset: TokenDataset, name: str) -> dict[str, int]:
    """How many examples have each value of a column, the most frequent first."""
    counts = pc.value_counts(dataset.table.data.column(name)).to_pylist()
    return dict(Counter({str(one["values"]): one["counts"] for one in counts}).most_common())


def _spread(weights: NDArray[np.float64]) -> dict[str, float]:
    figures = {
        "min": weights.min(),
        "mean": weights.mean(),
        "max": weights.max(),
        "zero": (weights == 0).sum(),
    }
    return {name: float(value) for name, value in figures.items()}


def _packed(plain: TokenDataset, packed: TokenDataset, parts: Split) -> dict[str, int]:
    apart = np.stack([packed.parts[parts.eval], packed.column("row")[parts.eval]])
    held_out = np.unique(apart, axis=1).shape[1]
    return {
        "train": len(plain) - held_out,
        "examples": len(parts.train),
        "held_out": held_out,
        "windows": len(parts.eval),
    }


def supervised_spans(dataset: TokenDataset, chat: Chat, example: int) -> list[tuple[str, bool]]:
    """Neighbouring tokens that are all supervised, or all not, as texts."""
    ids, mask = dataset.example(example)
    tokens = zip(ids.tolist(), mask.tolist(), strict=True)
    return [
        (chat.tokenizer.decode([token for token, _ in run]), bool(supervised))
        for supervised, run in groupby(tokens, key=lambda pair: pair[1])
    ]
