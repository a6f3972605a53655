"""How many rows of each part of a mixture are used, and which."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paceline.config.data import Data, Source
from paceline.data.rows import Rows
from paceline.data.sources import load_rows
from paceline.errors import DataError, nearest


@dataclass(frozen=True)
class SampledSource:
    """The chosen rows of one part of a mixture.

    `picked` (rows of the part,) are their indices in `rows`, int64, in the order of the seeded sample.
    `asked` is how many the mixture asks for, where that is more than there are.
    """

    origin: Source
    rows: Rows
    picked: NDArray[np.int64]
    asked: int | None = None


def choose_rows(data: Data) -> list[SampledSource]:
    """The mixture's parts with exact counts: int(total x ratio) rows each, and the first takes the rest.

    The total is `n`, or `sample_ratio` of all rows, or the most that the ratios allow. A part's sample
    depends on the seed and on its own rows, not on the others: a smaller sample is the beginning of a
    larger one. Of `mix_reasoning_ratio` a side that has fewer rows than asked gives them all.

    Raises:
        DataError: as `load_rows`; an unknown subset; a part with too few rows for its ratio.
        ServiceError: the hub cannot be reached.
    """
    whole = pools(data)
    asked, counts = _counts(data, data.parts(), [len(pool.picked) for pool in whole])
    return [
        replace(
            pool,
            picked=pool.picked[np.random.default_rng([data.seed, 0]).permutation(len(pool.picked))[:count]],
            asked=want if want > count else None,
        )
        for pool, want, count in zip(whole, asked, counts, strict=True)
    ]


def pools(data: Data) -> list[SampledSource]:
    """The mixture's parts with all rows that belong to them, in the source's order.

    Raises:
        DataError: as `load_rows`; an unknown subset.
        ServiceError: the hub cannot be reached.
    """
    loaded = [(source, load_rows(source)) for source in data.parts()]
    return [SampledSource(source, rows, _pool(rows, source)) for source, rows in loaded]


def most_rows(data: Data) -> int:
    """How many rows the sources have for the mixture, in its ratios.

    Raises:
        DataError: as `pools`.
    """
    return min(int(len(pool.picked) / pool.origin.ratio + 1e-9) for pool in pools(data))


def _pool(rows: Rows, source: Source) -> NDArray[np.int64]:
    """Indices of the rows that belong to the source's subset."""
    if source.subset is None:
        return np.arange(len(rows))
    if "subset" not in rows.columns:
        raise DataError(
            f"data {source.source!r}: no subset {source.subset!r}, since the rows have no column `subset`"
        )
    column = rows.subsets()
    known = sorted({subset for subset in column.tolist() if isinstance(subset, str)})
    if source.subset not in known:
        raise DataError(
            f"data {source.source!r}: no subset {source.subset!r}{nearest(source.subset, known)}; "
            f"there are {', '.join(known)}, and both"
        )
    return np.flatnonzero(column == source.subset)


def _counts(data: Data, sources: tuple[Source, ...], sizes: list[int]) -> tuple[list[int], list[int]]:
    """Rows asked of each part, and rows it gives."""
    if len(sources) == 1:
        total = data.n or (int(sizes[0] * data.sample_ratio + 1e-9) if data.sample_ratio else sizes[0])
        return [total], [max(1, min(total, sizes[0]))]
    total = data.n or 0
    if data.sample_ratio is not None:
        total = int(sum(sizes) * data.sample_ratio + 1e-9)
    if not total:
        total = min(int(size / source.ratio + 1e-9) for size, source in zip(sizes, sources, strict=True))
    asked = [int(total * source.ratio + 1e-9) for source in sources]
    asked[0] += total - sum(asked)
    counts = asked
    if data.mix_reasoning_ratio is not None:
        # all the reasoning rows there are, and general ones for the rest, so that the total is met
        reasoning = min(asked[1], sizes[1])
        counts = [min(total - reasoning, sizes[0]), reasoning]
    for source, count, size in zip(sources, counts, sizes, strict=True):
        if not 0 < count <= size:
            raise DataError(
                f"mixture: {source.label} should give {count:,} rows ({source.ratio:.0%} of {total:,}), "
                f"it has {size:,}; change data.n, data.sample_ratio or the ratios"
            )
    return asked, counts
