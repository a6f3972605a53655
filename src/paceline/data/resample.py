"""Other training rows of the same source for the same held-out examples."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from datasets import concatenate_datasets
from numpy.typing import NDArray

from paceline.config.data import Data
from paceline.data.bad_rows import refuse_too_many
from paceline.data.chat import Chat
from paceline.data.mixture import SampledSource, pools
from paceline.data.split import Split
from paceline.data.tokens import TokenDataset, tokenize
from paceline.errors import DataError

# What is left of drawn examples: gives the indices that may train, in their order, of a split whose
# training side holds the drawn ones.
Filter = Callable[[TokenDataset, Split], NDArray[np.int64]]


def resample(
    data: Data, chat: Chat, dataset: TokenDataset, parts: Split, held_out: NDArray[np.int64], keep: Filter
) -> tuple[TokenDataset, Split]:
    """The same held-out examples with as many training examples of each part of the mixture, drawn anew.

    They are drawn without replacement from all rows of the source that are neither held out nor copies of
    held-out ones; those of the plain sample may come again.

    Args:
        data: with `resample`, the seed of the draw.
        dataset: the plain sample's.
        parts: what of it trains and is held out.
        held_out: all that the split holds out, also where cleaning removes it; none of it trains.
        keep: what of the drawn examples may train: long enough, clean, no leak.

    Raises:
        DataError: no part has rows that the plain sample left; too few of them may train.
    """
    sources = pools(data)
    if sum(len(source.picked) for source in sources) <= sum(dataset.counts.values()):
        raise DataError(
            f"data {data.source!r}: data.resample draws other training rows, but the sample takes all "
            f"{sum(dataset.counts.values()):,} rows already; lower data.n, or leave resample out"
        )
    copies, groups = dataset.column("digest")[held_out], dataset.column("group")[held_out]
    bad = dataset.bad
    tables, train, origin = [dataset.table], [], [dataset.parts]
    for place, source in enumerate(sources):
        wanted = int((dataset.parts[parts.train] == place).sum())
        rows = dataset.column("row")[held_out][dataset.parts[held_out] == place]
        for drawn in _draws(data, source, rows, wanted, place):
            made = tokenize(drawn, data, chat)
            table, unusable = made.table, tuple(row for _, row in made.bad)
            refuse_too_many(source.origin.source, unusable, len(drawn.picked), source.origin.max_bad_rows)
            grown = replace(
                dataset,
                table=concatenate_datasets([*tables, table]),
                parts=np.concatenate([*origin, np.full(len(table), place)]),
            )
            new = np.arange(len(grown) - len(table), len(grown))
            new = new[
                ~np.isin(grown.column("digest")[new], copies) & ~np.isin(grown.column("group")[new], groups)
            ]
            kept = keep(grown, Split(new, parts.eval))
            if len(kept) >= wanted:
                break
        else:
            raise DataError(
                f"data {data.source!r}: {wanted:,} training examples are to be drawn anew from "
                f"{source.origin.label}, and only {len(kept):,} of its rows can train"
            )
        tables, origin = [*tables, table], [*origin, np.full(len(table), place)]
        train.append(kept[:wanted])
        bad += unusable
    used = np.concatenate([parts.eval, *train])
    chosen = replace(
        grown,
        table=grown.table.select(used).flatten_indices(),
        parts=grown.parts[used],
        bad=tuple(dict.fromkeys(bad)),
    )
    everything = np.arange(len(used))
    return chosen, Split(everything[len(parts.eval) :], everything[: len(parts.eval)])


def _draws(
    data: Data, source: SampledSource, held_out: NDArray[np.int64], wanted: int, place: int
) -> Iterator[SampledSource]:
    """The beginning of a random order of a source's rows, longer and longer until it is whole."""
    free = np.setdiff1d(source.picked, held_out)
    shuffled = np.random.default_rng([data.seed, 1, data.resample or 0, place]).permutation(free)
    count = int(wanted * 1.1) + 20
    while count < len(shuffled):
        yield replace(source, picked=shuffled[:count])
        count *= 2
    yield replace(source, picked=shuffled)
