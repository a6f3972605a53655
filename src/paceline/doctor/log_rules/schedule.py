"""How much of its data a run saw, at which rates and in which batches."""

from __future__ import annotations

import numpy as np

from paceline.doctor.finding import Finding
from paceline.doctor.log_rules.series import last
from paceline.doctor.logs.log import Array, Log


def low_coverage(log: Log) -> Finding | None:
    """The run ended before it had seen half of its training data once.

    Computed: the last line's epoch, where epochs are not only counted whole. Under 0.5 it is a warning: what
    a model has not seen it cannot learn. Where the loss has hardly moved as well (less than 0.5% held out,
    or 2% over the lines), it is an error, since it is then the first cause to repair.
    Try: more steps, or epochs instead of max_steps; a larger effective batch sees more data in each step.
    Source: the QLoRA post-mortem, whose run saw 8.9% of its data.
    """
    epochs, known = last(log.epoch), log.epoch[np.isfinite(log.epoch)]
    if epochs is None or epochs >= 0.5 or not log.ended or (known == np.floor(known)).all():
        return None
    return Finding(
        severity="error" if log.nothing_learned else "warning",
        message=f"the run saw {epochs:.1%} of its training data",
        evidence={"epochs": round(epochs, 4)},
        fix={"max_steps": None, "epochs": 1},
        advice="train for at least one epoch",
    )


def dead_learning_rate(log: Log) -> Finding | None:
    """For a good part of the run the learning rate was so low that nothing could change.

    Computed: the share of logged lines after the peak whose rate is under 1% of the peak. A cosine to zero
    spends 6.4% of its steps there, so more than 15% is a warning. Where the loss has hardly moved as well,
    a last rate under 0.1% of the peak counts as a cause, and is an error. Rates printed with one digit, of
    which zero is one, say nothing.
    Try: more steps under the same schedule, a floor (cosine_with_min_lr, min_lr_ratio 0.1), or a constant
    rate with warm-up.
    Source: the QLoRA post-mortem (5e-5 to 5e-10 in 500 steps).
    """
    rates = log.lr[np.isfinite(log.lr)]
    if len(rates) < 5 or rates.max() <= 0 or _are_rounded(rates):
        return None
    peak = rates.max()
    after = rates[int(rates.argmax()) :]
    dead = float((after < 0.01 * peak).sum() / len(rates))
    end = float(rates[-1] / peak)
    if dead <= 0.15 and not (log.nothing_learned and end < 1e-3 and log.ended):
        return None
    return Finding(
        severity="error" if log.nothing_learned else "warning",
        message=f"the learning rate fell from {peak:.1e} to {rates[-1]:.1e}; "
        f"{dead:.0%} of the run was under 1% of its peak",
        evidence={"share_under_1_percent": round(dead, 4), "last_over_peak": end},
        fix={"lr_scheduler": "cosine_with_min_lr", "min_lr_ratio": 0.1},
        advice="or a longer schedule",
    )


def _are_rounded(rates: Array) -> bool:
    """Whether rates fall through values of one digit to zero, as 0.0002, 0.0001, 0.0000."""
    above = {float(rate) for rate in rates if rate > 0}
    return len(above) > 1 and (rates == 0).any() and all(rate == float(f"{rate:.0e}") for rate in above)


def endless_warmup(log: Log) -> Finding | None:
    """The rate was still rising when the run ended: the warm-up is longer than the run.

    Computed: over at least five logged lines to the end, the last rate is the highest, over 1.5 times the one
    in the middle, and no line's rate is under the one before it.
    Try: fewer warm-up steps; 3 to 10% of the run is usual.
    Source: a schedule of 600 warm-up steps in a run of 60 learned a tenth of what it could.
    """
    rates = log.lr[np.isfinite(log.lr)]
    if len(rates) < 5 or not log.ended or (np.diff(rates) < 0).any():
        return None
    if rates[-1] <= 1.5 * rates[len(rates) // 2]:
        return None
    return Finding(
        severity="warning",
        message=f"the learning rate was still rising at the end, at {rates[-1]:.1e}: the warm-up never ends",
        evidence={"last_rate": float(rates[-1])},
        fix={"warmup_ratio": 0.1, "warmup_steps": None},
    )


def tiny_batch(log: Log) -> Finding | None:
    """Batches of one or two examples in a run that learned nothing: noisy gradients, more so in 4 bits.

    Computed: the batch size in the log's own header (of our runs the effective one, from 16 examples a step
    upwards), where the loss fell by less than 2%. On its own a
    small batch is a choice (the preset small-batch has four examples a step and won its study), so this
    speaks only beside a failure.
    Try: an effective batch of 16 to 32; 8 bits instead of 4.
    Source: the QLoRA post-mortem, third cause.
    """
    if log.batch_size is None or log.batch_size > 2 or not log.nothing_learned or not log.ended:
        return None
    four_bit = log.quantize in ("nf4", "fp4")
    return Finding(
        severity="error",
        message=f"batches of {log.batch_size}, and the loss fell by only {log.gain:.2%}: "
        "the gradients are noisy" + (", the more so through a 4-bit base" if four_bit else ""),
        evidence={"batch_size": log.batch_size, "gain": round(log.gain, 5)},
        fix={"batch_size": 2, "grad_accum": 16, **({"quantize": "int8"} if four_bit else {})},
    )
