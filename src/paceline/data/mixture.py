"""How many rows of each part of a mixture are used, and which."""

from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from paceline.config.data import Data, MixtureComponent
from paceline.data.sources import load_rows
from paceline.errors import DataError, nearest


@dataclass(frozen=True)
class SampledSource:
    """The chosen rows of one part: `picked` are their places in `rows`, in the order of the seeded sample."""

    share: MixtureComponent
    rows: Dataset
    picked: NDArray[np.int64]

    @property
    def label(self) -> str:
        return self.share.subset or str(self.share.source)


def choose_rows(data: Data) -> list[SampledSource]:
    """The mixture's parts with exact counts: int(total x ratio) rows each, the first part takes what rounding leaves over.

    The total is `n`, or `sample_ratio` of all rows, or the most that the ratios allow. A part's sample depends on the seed and on its own
    rows, not on the others: a smaller sample is the beginning of a larger one.

    Raises:
        DataError: unknown subset; a part with too few rows for its ratio.
    """
    shares = data.parts()
    loaded = [
        load_rows(data.model_copy(update=share.model_dump(include={"source", "config", "split"})))
        for share in shares
    ]
    pools = [_pool(rows, share) for rows, share in zip(loaded, shares, strict=True)]
    counts = _counts(data, shares, [len(pool) for pool in pools])
    samples = [
        pool[np.random.default_rng([data.seed, 0]).permutation(len(pool))[:count]]
        for pool, count in zip(pools, counts, strict=True)
    ]
    return [SampledSource(*part) for part in zip(shares, loaded, samples, strict=True)]


def _pool(rows: Dataset, share: MixtureComponent) -> NDArray[np.int64]:
    """Places of the rows that belong to the share's subset."""
    if share.subset is None:
        return np.arange(len(rows))
    if "subset" not in rows.column_names:
        raise DataError(
            f"data {share.source!r}: subset {share.subset!r} wanted, but the rows have no column `subset`"
        )
    column = rows.data.column("subset").to_numpy()
    if rows._indices is not None:
        column = column[rows._indices.column(0).to_numpy()]
    known = sorted(set(column.tolist()))
    if share.subset not in known:
        raise DataError(
            f"data {share.source!r}: no subset {share.subset!r}{nearest(share.subset, known)}; there are {', '.join(known)}, and both"
        )
    return np.flatnonzero(column == share.subset)


def _counts(data: Data, shares: list[MixtureComponent], sizes: list[int]) -> list[int]:
    if len(shares) == 1:
        wanted = data.n or (int(sizes[0] * data.sample_ratio) if data.sample_ratio else sizes[0])
        return [max(1, min(wanted, sizes[0]))]
    wanted = data.n or 0
    if data.sample_ratio is not None:
        wanted = int(sum(sizes) * data.sample_ratio)
    if not wanted:
        wanted = min(int(size / share.ratio + 1e-9) for size, share in zip(sizes, shares, strict=True))
    counts = [int(wanted * share.ratio + 1e-9) for share in shares]
    counts[0] += wanted - sum(counts)
    for share, count, size in zip(shares, counts, sizes, strict=True):
        if not 0 < count <= size:
            raise DataError(
                f"mixture: {share.subset or share.source} should give {count:,} rows ({share.ratio:.0%} of {wanted:,}), it has {size:,}; change data.n, data.sample_ratio or the ratios"
            )
    return counts
