"""Rows that cannot be used: how many may be, and what is said of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from paceline.errors import DataError

# From so many rows on, one may always be bad.
_ONE_IN = 10


class BadRow(NamedTuple):
    """A row that is dropped: where it stands, the kind of its fault, and the fault."""

    where: str
    kind: str
    reason: str


def count_kinds(bad: Iterable[BadRow]) -> dict[str, int]:
    """Bad rows by kind, the most frequent first."""
    return dict(Counter(row.kind for row in bad).most_common())


def refuse_too_many(source: str, bad: Sequence[BadRow], rows: int, limit: str | int) -> None:
    """Refuses more bad rows than the limit: a number of rows, or a share such as 5%.

    A share lets one bad row pass in any ten rows or more.

    Raises:
        DataError: with the first bad row, in the order of the file.
    """
    if isinstance(limit, int):
        allowed = limit
    else:
        share = float(limit.rstrip("%")) / 100
        allowed = max(int(share * rows + 1e-9), 1 if share and rows >= _ONE_IN else 0)
    if len(bad) <= allowed:
        return
    first = bad[0]
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in count_kinds(bad).items())
    raise DataError(
        f"data {source!r}: {first.where}: {first.reason}; {len(bad):,} of {rows:,} rows cannot be used "
        f"({kinds}), data.max_bad_rows {limit} lets {allowed:,} pass"
    )
