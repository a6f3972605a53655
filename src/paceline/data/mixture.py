"""How many rows of each part of a mixture are used, and which."""

from dataclasses import dataclass

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
    sources = data.parts()
    loaded = [load_rows(source) for source in sources]
    pools = [_pool(rows, source) for rows, source in zip(loaded, sources, strict=True)]
    asked, counts = _counts(data, sources, [len(pool) for pool in pools])
    samples = [
        pool[np.random.default_rng([data.seed, 0]).permutation(len(pool))[:count]]
        for pool, count in zip(pools, counts, strict=True)
    ]
    missed = [want if want > have else None for want, have in zip(asked, counts, strict=True)]
    return [SampledSource(*part) for part in zip(sources, loaded, samples, missed, strict=True)]


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
        total = data.n or (int(sizes[0] * data.sample_ratio) if data.sample_ratio else sizes[0])
        return [total], [max(1, min(total, sizes[0]))]
    total = data.n or 0
    if data.sample_ratio is not None:
        total = int(sum(sizes) * data.sample_ratio)
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
