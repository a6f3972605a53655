"""The course of the loss: not a number, diverging, jumping, flat."""

from __future__ import annotations

import numpy as np

from paceline.doctor.finding import Finding
from paceline.doctor.log_rules.series import rate_times, thin
from paceline.doctor.logs.log import Array, Log


def not_finite(log: Log) -> Finding | None:
    """A loss, training or held out, or a gradient norm was NaN or infinite: what comes after means nothing.

    Computed: any such figure. Where the loss stayed finite and so did at least three lines after the last
    infinite norm, it is a warning: a loss scaler, as fp16 has, leaves such steps out.
    Try: a lower rate, clipping (max_grad_norm 1.0), bf16 instead of fp16; look at the batch of that step.
    Source: arithmetic.
    """
    if not log.not_finite:
        return None
    first = log.not_finite[0]
    if _left_out(log):
        return Finding(
            severity="warning",
            message=f"the gradient was not finite at {len(log.not_finite)} logged steps, the first "
            f"{first}, and the run went on",
            evidence={"step": first},
            advice="a loss scaler leaves such steps out; many of them are a rate that is too high",
        )
    return Finding(
        severity="error",
        message=f"loss or gradient is not finite from step {first} on",
        evidence={"step": first},
        fix={**rate_times(log, 0.1), "max_grad_norm": 1.0},
    )


def _left_out(log: Log) -> bool:
    """Whether only gradient norms were infinite, and the run went on after the last of them."""
    infinite = np.isfinite(log.loss) & np.isinf(log.grad_norm)
    if {int(step) for step in log.step[infinite]} != set(log.not_finite):
        return False
    after = (log.step > log.not_finite[-1]) & np.isfinite(log.loss) & np.isfinite(log.grad_norm)
    return int(after.sum()) >= 3


def loss_is_zero(log: Log) -> Finding | None:
    """The loss is exactly 0.0: nothing is supervised, or the weights are no longer numbers.

    Computed: at least two logged lines of exactly 0.0, unless a finite gradient above zero stands beside them
    all: then rows are known by heart, and the log is rounded. Beside gradients that are not finite the
    weights are NaN, and what is logged is no loss.
    Try: float32 or bfloat16 in place of fp16; a lower rate and clipping; `paceline check` for labels that
    are all masked.
    Source: the most reported sickness of LoRA logs (loss 0.0 with grad_norm nan).
    """
    is_zero = log.loss == 0.0
    zero, norms = int(is_zero.sum()), log.grad_norm[is_zero]
    if zero < 2 or (np.isfinite(norms) & (norms > 0)).all():
        return None
    return Finding(
        severity="error",
        message=f"the loss is exactly 0.0 on {zero} of {len(log)} logged lines",
        evidence={"lines": zero},
        advice="the weights may be NaN, or every label masked; no such adapter is of use",
    )


def loss_above_start(log: Log) -> Finding | None:
    """The loss is far above where it began: the run diverged.

    Computed: the last held-out loss against the base's, or the first one, from 1.2 times upwards. Where there
    is none, the mean of the last three lines against the lowest of the first three, from 1.5 times upwards
    and with at least eight lines, since single lines differ by up to a third in healthy runs.
    Try: a tenth of the rate, more warm-up, clipping.
    Source: measured on the cases.
    """
    losses = log.loss[np.isfinite(log.loss)]
    held_out = log.held_out
    if log.base_loss and len(held_out):
        factor, limit = float(held_out[-1] / log.base_loss), 1.2
    elif len(held_out) > 1 and held_out[0] > 0:
        factor, limit = float(held_out[-1] / held_out[0]), 1.2
    elif len(losses) >= 8 and losses[:3].min() > 0:
        factor, limit = float(losses[-3:].mean() / losses[:3].min()), 1.5
    else:
        return None
    if factor < limit:
        return None
    return Finding(
        severity="error",
        message=f"the loss is {factor:.2f} times what it was at the start",
        evidence={"factor": round(factor, 3)},
        fix={**rate_times(log, 0.1), "warmup_ratio": 0.1, "max_grad_norm": 1.0},
    )


def loss_spikes(log: Log) -> Finding | None:
    """Single lines far above their neighbours: a bad batch, or a rate that is almost too high.

    Computed: lines that are over twice the running median of five, above it by more than eight times the
    median absolute deviation of all lines from theirs, and over 1.3 times the level of the first fifth. It
    takes all three: smooth logs have tiny deviations, noisy ones reach 1.83 times the median in the healthy
    cases, and near zero anything is a multiple.
    Try: clipping, a lower rate; look at the examples of that step.
    Source: the usual robust outlier test (Hampel), with thresholds measured on the cases.
    """
    known = np.isfinite(log.loss)
    losses = log.loss[known]
    if len(losses) < 10:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(losses, 2, constant_values=np.nan), 5)
    around = np.nanmedian(windows, axis=1)
    above = losses - around
    spread = max(float(np.median(np.abs(above))), 1e-9)
    level = 1.3 * float(np.median(losses[: max(5, len(losses) // 5)]))
    spikes = np.flatnonzero((above > 8 * spread) & (losses > 2 * around) & (losses > level))
    if not len(spikes):
        return None
    steps = [int(step) for step in log.step[known][spikes][:5]]
    return Finding(
        severity="warning",
        message=f"the loss jumps at step {', '.join(map(str, steps))}",
        evidence={"steps": steps},
        fix={"max_grad_norm": 0.5},
    )


def loss_flat(log: Log) -> Finding | None:
    """The loss shows no trend: the run learns nothing.

    Computed: the last held-out loss is within 0.5% of the base's (a held-out loss has no noise of its own).
    Where the base's is not known: at least two held-out losses within 0.2% of each other, or none at all,
    and a Theil-Sen slope over at least ten training lines (scipy.stats.theilslopes) whose 95% interval
    holds zero and whose fall is under 2%.
    Try: five times the rate; check masks and template with `paceline check`.
    Source: Sen 1968; the teaching guide's third common issue.
    """
    known = np.isfinite(log.loss)
    steps, losses = log.step[known], log.loss[known]
    if len(losses) < 10 or np.ptp(steps) == 0 or (losses == 0.0).sum() >= 2:
        return None
    if log.base_loss is not None and len(log.held_out):
        flat, fall = log.nothing_learned, log.gain
    else:
        flat, fall = _without_trend(steps, losses, log.held_out)
    if not flat:
        return None
    return Finding(
        severity="error",
        message=f"the loss is flat: {fall:.2%} lower after {int(np.ptp(steps)):,} steps",
        evidence={"fall": round(fall, 5)},
        fix=rate_times(log, 5),
    )


def _without_trend(steps: Array, losses: Array, held_out: Array) -> tuple[bool, float]:
    """Whether training losses are flat, and the share by which they fell."""
    from scipy import stats  # half a second of import that reading a study does without

    slope, _, low, high = stats.theilslopes(thin(losses), thin(steps))
    level = float(np.median(losses[: max(3, len(losses) // 3)])) or 1.0
    fall = -float(slope) * float(np.ptp(steps)) / level
    moved = len(held_out) >= 2 and bool(abs(held_out[-1] - held_out[0]) > 0.002 * abs(held_out[0]))
    trendless = bool(low <= 0 <= high) or len(held_out) >= 2
    return not moved and abs(fall) < 0.02 and trendless, fall
