"""Removes copies, leaks and odd examples, and counts what each rule removed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash, RMinHashDeduplicator

from paceline.config.data import Clean, Data
from paceline.data.bad_rows import count_kinds
from paceline.data.chat import Chat
from paceline.data.rows import Rows
from paceline.data.sources import load_rows
from paceline.data.split import Split
from paceline.data.tokens import NO_ANSWER, TokenDataset, load_tokens
from paceline.errors import DataError

GRAM = 5
PERMUTATIONS, SEED = 128, 42
_BATCH = 2000

OnProgress = Callable[[int], None]


def clean_rows(data: Data, rules: Clean, chat: Chat, on_progress: OnProgress) -> tuple[Rows, dict[str, int]]:
    """The rows of a plain source that the rules leave, in their order, and how many each rule removed.

    Raises:
        DataError: as `load_tokens`; the data is a mixture, whose rows have no one file to go to.
    """
    if len(data.parts()) > 1:
        raise DataError("data clean: a mixture is cleaned part by part; name one source")
    dataset = load_tokens(data, chat)
    everything = np.argsort(dataset.column("row"), kind="stable")
    cleaned = clean(dataset, rules, Split(everything, everything[:0]), on_progress)
    kept = np.unique(dataset.column("row")[cleaned.split.train])
    unusable = count_kinds(row for row in dataset.bad if row.kind != NO_ANSWER)
    removed = {"no answer": len(dataset.dropped), **unusable, **cleaned.removed}
    (source,) = data.parts()
    return load_rows(source).select(kept), {
        rule: count for rule, count in removed.items() if "leak" not in rule
    }


@dataclass(frozen=True)
class Cleaned:
    """What is left, as a split (`eval` is empty if it was), and how many examples each rule removed."""

    split: Split
    removed: dict[str, int]


def clean(
    dataset: TokenDataset,
    rules: Clean,
    parts: Split,
    on_progress: OnProgress = lambda count: None,
    *,
    keep_held_out: bool = False,
) -> Cleaned:
    """Applies the rules to both sides of a split.

    Held-out examples come first: a training example that copies one is a leak and goes. Near duplicates:
    MinHash over token 5-grams of the whole conversation (Broder 1997), candidates by locality-sensitive
    hashing, similarity by signature (rensa).

    Args:
        on_progress: is told how many examples were read since it was last told.
        keep_held_out: the held-out side has been cleaned before, beside other training examples.
    """
    removed: dict[str, int] = {}
    odd = _odd(dataset, rules, removed)
    if keep_held_out:
        odd[parts.eval] = False
    held_out, train = parts.eval[~odd[parts.eval]], parts.train[~odd[parts.train]]
    if rules.duplicates != "none":
        held_out, train = _remove_copies(dataset, rules, held_out, train, removed, on_progress)
    return Cleaned(Split(train, held_out), removed)


def _odd(dataset: TokenDataset, rules: Clean, removed: dict[str, int]) -> NDArray[np.bool_]:
    """Which examples a rule on single ones removes (examples,); one that breaks two counts for the first."""
    lengths, answers = dataset.lengths, dataset.supervised
    flagged = {"answer too short": answers < rules.min_answer}
    if rules.max_length is not None:
        flagged["too long"] = lengths > rules.max_length
    if rules.outliers is not None:
        logs = np.log(lengths)
        low, high = np.percentile(logs, [25, 75])
        flagged["length outlier"] = np.abs(logs - (low + high) / 2) > (rules.outliers + 0.5) * (high - low)
    if rules.max_repetition is not None:
        limit = rules.max_repetition
        flagged["repeats itself"] = np.fromiter(
            (_repetition(*one) > limit for one in dataset.examples(range(len(dataset)))), bool, len(dataset)
        )
    odd = np.zeros(len(dataset), dtype=bool)
    for name, flags in flagged.items():
        removed[name] = int((flags & ~odd).sum())
        odd |= flags
    return odd


def _repetition(ids: NDArray[np.int32], mask: NDArray[np.uint8]) -> float:
    """Share of the answer's 5-grams that occurred before in it (a rule of arXiv:2112.11446, appendix A)."""
    grams = _grams(ids[mask == 1])
    return 1 - len(set(grams)) / len(grams) if len(grams) > 4 * GRAM else 0.0


def _grams(ids: NDArray[np.int32]) -> list[bytes]:
    """Every window of GRAM tokens as bytes; a shorter text is one window."""
    raw = np.ascontiguousarray(ids).tobytes()
    width = GRAM * ids.itemsize
    return [raw[start : start + width] for start in range(0, max(len(raw) - width, 0) + 1, ids.itemsize)]


def _remove_copies(
    dataset: TokenDataset,
    rules: Clean,
    held_out: NDArray[np.int64],
    train: NDArray[np.int64],
    removed: dict[str, int],
    on_progress: OnProgress,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    digest = dataset.column("digest")
    unique = [side[np.sort(np.unique(digest[side], return_index=True)[1])] for side in (held_out, train)]
    leaked = np.isin(digest[unique[1]], digest[held_out])
    removed["exact duplicate"] = len(held_out) + len(train) - sum(map(len, unique))
    removed["leak into eval, exact"] = int(leaked.sum())
    held_out, train = unique[0], unique[1][~leaked]
    if rules.duplicates == "exact":
        return held_out, train
    kept: list[NDArray[np.int64]] = []
    seen: list[RMinHashDeduplicator] = []
    for sketches, batch in ((_sketches(dataset, side, on_progress), side) for side in (held_out, train)):
        known = RMinHashDeduplicator(rules.threshold, PERMUTATIONS, True, seed=SEED)
        flags = [
            (any(s.is_duplicate("", sketch) for s in seen), known.add(str(i), sketch))
            for i, sketch in enumerate(sketches)
        ]
        seen.append(known)
        leaks, news = np.asarray(flags, dtype=bool).reshape(-1, 2).T
        removed["near duplicate"] = removed.get("near duplicate", 0) + int((~news & ~leaks).sum())
        removed["leak into eval, near"] = removed.get("leak into eval, near", 0) + int(leaks.sum())
        kept.append(batch[news & ~leaks])
    return kept[0], kept[1]


def _sketches(
    dataset: TokenDataset, examples: NDArray[np.int64], on_progress: OnProgress
) -> Iterator[RMinHash]:
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        yield from RMinHash.from_token_sets(
            [_grams(ids) for ids, _ in dataset.examples(batch)], PERMUTATIONS, SEED
        )
        on_progress(len(batch))
