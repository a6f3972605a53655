"""Throughput, and figures that a log lacks."""

from __future__ import annotations

import numpy as np

from paceline.doctor.finding import Finding
from paceline.doctor.logs.log import Log


def slower_and_slower(log: Log) -> Finding | None:
    """Tokens per second fell over the run: memory swaps, another process, a hot machine.

    Computed: the rate of the last fifth of the lines against the median of all, with at least ten lines;
    under 60% it is a warning.
    Try: look at the machine; the result is not harmed.
    Source: runs beside others share time, so only a large drop counts.
    """
    known = np.isfinite(log.tokens) & np.isfinite(log.seconds)
    tokens, seconds = np.diff(log.tokens[known]), np.diff(log.seconds[known])
    if len(tokens) < 10 or (seconds <= 0).any():
        return None
    rates = tokens / seconds
    now, usual = float(np.median(rates[-max(2, len(rates) // 5) :])), float(np.median(rates))
    if now >= 0.6 * usual:
        return None
    return Finding(
        severity="warning",
        message=f"{now:,.0f} tokens/s at the end, against {usual:,.0f} over the whole run",
        evidence={"now": round(now), "usual": round(usual)},
    )


def padding(log: Log) -> Finding | None:
    """Time is spent on padding: examples of uneven length share a batch.

    Computed: where a log counts tokens both with and without padding (transformers' num_input_tokens_seen,
    TRL's num_tokens), the share that is padding; over 20% is a warning.
    Try: a smaller per-device batch with more accumulation, packing, or sorting by length; Paceline itself
    pads nothing.
    Source: TRL at 16 rows a batch reached 98 tokens/s where 2 rows reached 346, on the same machine.
    """
    known = np.isfinite(log.tokens) & np.isfinite(log.padded)
    grown = np.diff(log.tokens[known], prepend=0.0), np.diff(log.padded[known], prepend=0.0)
    both = (grown[0] > 0) & (grown[1] > 0)  # a resumed run may count one of the two from zero again
    real, padded = (float(own[both].sum()) for own in grown)
    if not real or padded <= real / 0.8:
        return None
    return Finding(
        severity="warning",
        message=f"{1 - real / padded:.0%} of the tokens are padding",
        evidence={"share": round(1 - real / padded, 3)},
        advice="a smaller per-device batch, or packing",
    )


def figures_missing(log: Log) -> Finding | None:
    """The log lacks figures that other rules need.

    Computed: columns without a single number, of loss, learning rate, gradient norm and evaluations.
    Try: eval_steps, logging_steps; a trainer that logs them.
    Source: the other rules, which are silent without them.
    """
    columns = {
        "loss": log.loss,
        "learning rate": log.lr,
        "gradient norm": log.grad_norm,
        "eval loss": log.eval_loss,
    }
    missing = [name for name, values in columns.items() if not np.isfinite(values).any()]
    if not missing or not log.ended or log.not_finite:
        return None
    return Finding(
        severity="note",
        message=f"the log has no {', no '.join(missing)}",
        evidence={"missing": missing},
        advice="log them; several rules need them",
    )


def lines_unread(log: Log) -> Finding | None:
    """Some lines seem to hold figures and could not be read: no finding knows what they say.

    Computed: lines with a loss and a number that fit no known form. Over a tenth of all is a warning.
    Try: send the first such line with a report, so that it can be read.
    Source: a log of which nothing is understood must never look like a healthy run.
    """
    if not log.unread:
        return None
    read = len(log) + len(log.eval_step)
    return Finding(
        severity="warning" if log.unread > 0.1 * (read + log.unread) else "note",
        message=f"{log.unread:,} lines could not be read, {read:,} could; the first: {log.first_unread}",
        evidence={"unread": log.unread, "read": read},
    )
