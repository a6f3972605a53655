"""Gradient norms: none at all, or too large."""

from __future__ import annotations

import numpy as np

from paceline.doctor.finding import Finding
from paceline.doctor.log_rules.series import longest_run, rate_times, thin
from paceline.doctor.logs.log import Log


def zero_gradient(log: Log) -> Finding | None:
    """The gradient norm was exactly 0.0: nothing reached the adapter, and nothing was learned.

    Computed: logged lines with a norm of exactly 0.0, and what our own training step reports of the steps
    between them. Rounding makes small norms, never zeros, so a single one is a warning; 20 in a row, or all
    of them, are an error.
    Try: check that the adapter is trainable and attached (`paceline check`) and that not all labels are
    masked; where the base is quantized, try one that is not.
    Source: the QLoRA post-mortem; the teaching guide's first common issue.
    """
    zero = log.grad_norm == 0.0
    known = np.isfinite(log.grad_norm)
    lines, in_a_row = int(zero.sum()), longest_run(zero)
    if not lines and not log.zero_gradient:
        return None
    where = f"on {lines} of {int(known.sum())} logged lines, {in_a_row} in a row"
    if not lines:
        where = f"at step {log.zero_gradient[0]}, between the logged lines"
    severe = in_a_row >= 20 or (known.sum() >= 3 and bool(zero[known].all()))
    return Finding(
        severity="error" if severe else "warning",
        message=f"the gradient norm was exactly 0.0 {where}",
        evidence={"lines": lines, "in_a_row": in_a_row},
        fix={"quantize": "none"} if log.quantize not in (None, "none") else {},
        advice="`paceline check` shows which modules the loss does not reach",
    )


def large_gradient(log: Log) -> Finding | None:
    """Gradient norms over 10, where 0.2 to 3 is usual for LoRA: the rate is too high, or the data is odd.

    Computed: the median norm of the last half, or a rising trend (Theil-Sen on the logarithm) that
    multiplies the norm by more than five over the run, to over 2.
    Try: clipping at 1.0, a lower rate.
    Source: the teaching guide (0.2 to 2.0 is good, over 10 explodes); the 0.6B study on Rust (1.5 to 3.0).
    """
    norms = log.grad_norm[np.isfinite(log.grad_norm) & (log.grad_norm > 0)]
    if len(norms) < 5:
        return None
    from scipy import stats  # half a second of import that reading a study does without

    median = float(np.median(norms[len(norms) // 2 :]))
    points = thin(norms)
    growth = float(np.exp(stats.theilslopes(np.log(points)).low_slope * len(points)))
    if median <= 10 and not (growth > 5 and median > 2):
        return None
    return Finding(
        severity="warning",
        message=f"gradient norms are around {median:.1f}, at least {growth:.1f} times those at the start",
        evidence={"median": round(median, 3), "growth": round(growth, 3)},
        fix={"max_grad_norm": 1.0, **rate_times(log, 0.1)},
    )
