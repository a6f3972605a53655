"""The data: lengths, copies, the size of the held-out split, tasks and mixtures."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from paceline.doctor.finding import Finding

if TYPE_CHECKING:
    from paceline.doctor.preflight import Preflight

# Correlation of two runs' per-example mean losses over the same examples: 0.97 to 0.999 between the runs of
# the rehearsed five-recipe study.
CORRELATION = 0.98


def too_long_for_the_model(subject: Preflight) -> Finding | None:
    """max_length is longer than the longest sequence that the model knows.

    Computed: the configuration's max_position_embeddings; an error only if there are examples beyond it.
    Try: max_length of at most that.
    Source: positions that were never trained give noise.
    """
    length, positions = subject.recipe.max_length, subject.positions
    if not positions or length <= positions:
        return None
    longest = int(np.minimum(subject.prepared.dataset.lengths, length).max())
    return Finding(
        severity="error" if longest > positions else "note",
        message=f"max_length {length} is over the model's {positions} positions; "
        f"the longest example has {longest}",
        evidence={"positions": positions, "longest": longest},
        fix={"max_length": positions},
    )


def rows_dropped(subject: Preflight) -> Finding | None:
    """Rows cannot be used, and are left out.

    Computed: rows that are broken, that their format or the chat template cannot read, or that teach nothing;
    one is a warning. Over `data.max_bad_rows` of them the data is refused.
    Try: mend the rows that the list names.
    Source: a row that is left out in silence is missed by nobody until the model lacks it.
    """
    facts = subject.prepared.facts
    if not facts.bad_rows:
        return None
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in facts.bad_rows.items())
    return Finding(
        severity="warning",
        message=f"rows are dropped: {kinds}",
        evidence=dict(facts.bad_rows),
        advice=f"each is named in {facts.bad_rows_file}",
    )


def columns_unused(subject: Preflight) -> Finding | None:
    """The rows have columns that nothing reads.

    Computed: columns of the source that no row's format asked for; a note.
    Try: name the format, or what its columns are called (`data.columns`), if one of them was to be learned.
    Source: a column beside the text may carry what was meant to be in the prompt.
    """
    unused = subject.prepared.facts.unused_columns
    if not unused:
        return None
    return Finding(
        severity="note",
        message=f"columns that nothing reads: {', '.join(unused)}",
        evidence={"columns": unused},
    )


def much_is_cut(subject: Preflight) -> Finding | None:
    """Many examples are longer than max_length and lose their end.

    Computed: the share of examples that are cut: over 10% is a warning, over 3% a note.
    Try: the length that 97% of the examples fit.
    Source: the Rust studies chose 1,024 tokens, which 96.4% of their examples fit.
    """
    share = subject.prepared.facts.truncated / subject.prepared.facts.examples
    if share <= 0.03:
        return None
    fits = int(np.ceil(np.percentile(subject.prepared.dataset.lengths, 97) / 64) * 64)
    return Finding(
        severity="warning" if share > 0.1 else "note",
        message=f"{share:.1%} of the examples are cut to {subject.recipe.max_length} tokens",
        evidence={"share": round(share, 4)},
        fix={"max_length": min(fits, subject.positions or fits)},
    )


def leaks(subject: Preflight) -> Finding | None:
    """Training examples that copy held-out ones, nearly or exactly: the held-out loss flatters the run.

    Computed: MinHash over token 5-grams, Jaccard similarity from 0.8, among up to 5,000 examples of each
    side; from 1% of the held-out examples it is a warning. Exact copies are never on both sides of the
    split.
    Try: data.clean.
    Source: arXiv:2107.06499 (deduplication and leaks between splits).
    """
    count = sum(number for rule, number in subject.copies.items() if "leak" in rule)
    if subject.recipe.data.clean is not None or not count:
        return None
    if count < 0.01 * subject.prepared.facts.eval:
        return None
    return Finding(
        severity="warning",
        message=f"{count} training examples copy held-out ones",
        evidence={"leaks": count},
        fix={"data.clean.duplicates": "near"},
    )


def duplicates(subject: Preflight) -> Finding | None:
    """Examples that occur several times in the training data: they are learned by heart.

    Computed: exact and near copies among up to 5,000 training examples; over 5% is a warning.
    Try: data.clean.
    Source: arXiv:2107.06499.
    """
    count = sum(number for rule, number in subject.copies.items() if "duplicate" in rule)
    share = count / min(5000, len(subject.prepared.texts[1].train))
    if subject.recipe.data.clean is not None or share <= 0.05:
        return None
    return Finding(
        severity="warning",
        message=f"{share:.1%} of the training examples are copies of others",
        evidence={"share": round(share, 4)},
        fix={"data.clean.duplicates": "near"},
    )


def eval_too_small(subject: Preflight) -> Finding | None:
    """The held-out split is too small to tell recipes apart.

    Computed: the smallest difference of eval loss that a paired comparison can call real at 95%: 1.96 x s x
    sqrt(2 (1 - 0.98)) / sqrt(examples), with s the spread of the base model's per-example mean losses, and
    0.98 the correlation measured between runs of one study. It is an estimate before training: recipes that
    are nearer to each other correlate more, and the paired table then tells smaller differences; what seeds
    change comes on top. Over 0.05 nats is a warning: the differences between the recipes of the Rust study
    were 0.001 to 0.05.
    Try: more rows, a larger eval_ratio.
    Source: the paired t interval.
    """
    losses = subject.base_losses
    spread = float(np.std(losses.loss / losses.tokens, ddof=1)) if len(losses.loss) > 1 else float("inf")
    count = subject.prepared.facts.eval
    smallest = 1.96 * spread * (2 * (1 - CORRELATION)) ** 0.5 / count**0.5
    if smallest <= 0.05:
        return None
    needed = int(np.ceil(count * (smallest / 0.02) ** 2)) if np.isfinite(smallest) else 100
    return Finding(
        severity="warning",
        message=f"with {count} held-out examples two recipes, as unlike as usual, show differences from "
        f"about {smallest:.3f} nats (nearer ones smaller, seeds not counted); {needed:,} would show 0.02",
        evidence={"smallest": round(smallest, 4), "needed": needed},
        fix={"data.eval_ratio": min(0.5, round(2 * subject.recipe.data.eval_ratio, 3))},
    )


def one_task_rules(subject: Preflight) -> Finding | None:
    """One task has nearly all of the examples.

    Computed: tasks in the training examples; over 90% for the largest of at least three is a note.
    Try: a mixture with ratios, or train_tasks.
    Source: the mean over tokens hides the small tasks; the table by task shows them.
    """
    counts = Counter(subject.prepared.dataset.tasks(subject.prepared.split.train[:20_000]))
    task, most = counts.most_common(1)[0]
    share = most / counts.total()
    if len(counts) < 3 or share <= 0.9:
        return None
    return Finding(
        severity="note",
        message=f"{share:.0%} of the examples are {task}, one of {len(counts)} tasks",
        evidence={"share": round(share, 3)},
    )


def mixture_missed(subject: Preflight) -> Finding | None:
    """The mixture is not the one that was asked for: dropping, cutting or cleaning took more from one source.

    Computed: each source's share of the training examples against its ratio; a difference over three
    percentage points is a warning.
    Try: larger n, other ratios.
    Source: arithmetic.
    """
    parts = subject.recipe.data.parts()
    counts = subject.prepared.facts.train_mixture
    if len(parts) < 2 or subject.recipe.train_tasks:
        return None
    total = sum(counts.values())
    gaps = [count / total - part.ratio for part, count in zip(parts, counts.values(), strict=True)]
    worst = int(np.argmax(np.abs(gaps)))
    if abs(gaps[worst]) <= 0.03:
        return None
    return Finding(
        severity="warning",
        message=f"the share of {list(counts)[worst]} is off by {100 * gaps[worst]:+.1f} percentage points",
        evidence={"gap": round(gaps[worst], 4)},
    )
