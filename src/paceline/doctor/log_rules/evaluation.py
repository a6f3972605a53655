"""The held-out figures: repeating, rising, levelling off, still falling."""

from __future__ import annotations

import numpy as np

from paceline.doctor.finding import Finding
from paceline.doctor.log_rules.series import longest_run, rate_times
from paceline.doctor.logs.log import Log


def same_eval(log: Log) -> Finding | None:
    """Evaluations repeat to the last digit: the model that is evaluated does not change.

    Computed: neighbouring eval losses that are equal. Two different adapters never agree to the last digit;
    a rounded log may: two need five significant digits, three need four, with fewer five must agree.
    Try: see zero-gradient; check that the model that is evaluated is the one that is trained.
    Source: the QLoRA post-mortem (2.9310 three times).
    """
    measured = np.isfinite(log.eval_loss)
    losses, steps = log.eval_loss[measured], log.eval_step[measured]
    if len(losses) < 2:
        return None
    # a run that stops early is evaluated at its last step once more
    longest = longest_run((np.diff(losses) == 0) & (np.diff(steps) != 0)) + 1
    digits = max(len(f"{abs(loss):.10f}".replace(".", "").strip("0")) for loss in losses)
    if longest < (2 if digits >= 5 else 3 if digits == 4 else 5):
        return None
    return Finding(
        severity="error",
        message=f"{longest} evaluations in a row gave {losses[-1]:.10g}, to the last digit",
        evidence={"evaluations": longest, "eval_loss": float(losses[-1])},
    )


def overfitting(log: Log) -> Finding | None:
    """The held-out loss rises while the training loss falls: the model learns the rows by heart.

    Computed: the last eval loss is more than 2% above the lowest (evaluations have no noise, so any steady
    rise is real; 2% is where acting on it pays), and the training loss fell after the lowest evaluation.
    Try: stop at that step (load_best with eval_steps, or early_stop_patience), fewer epochs, more data,
    more dropout.
    Source: the textbook sign.
    """
    losses = log.held_out
    if len(losses) < 3:
        return None
    best = int(losses.argmin())
    best_step = log.eval_step[np.isfinite(log.eval_loss)][best]
    rise = float(losses[-1] / losses[best] - 1) if losses[best] > 0 else 0.0
    if rise <= 0.02 or best == len(losses) - 1:
        return None
    known = np.isfinite(log.loss)
    before, after = log.loss[known & (log.step <= best_step)], log.loss[known & (log.step > best_step)]
    if not len(before) or not len(after) or after[-3:].mean() >= before[-3:].mean():
        return None
    return Finding(
        severity="warning",
        message=f"eval loss is {rise:.1%} above its lowest, at step {int(best_step)}, "
        "while the training loss kept falling",
        evidence={"best_step": int(best_step), "rise": round(rise, 4)},
        fix={"load_best": True, "early_stop_patience": 2},
        advice=f"stop at step {int(best_step)}",
    )


def early_plateau(log: Log) -> Finding | None:
    """Nearly all of the gain came early; the rest of the run cost much and brought little.

    Computed: the first evaluation with 95% of the whole fall of eval loss from the base's. Before 40% of
    the run it is worth a note. It takes five evaluations; the training loss is too noisy to stand in for
    them.
    Try: fewer steps, or early_stop_patience; put the money into data.
    Source: the five-recipe study on Rust, where accuracy reached 80% within 50 to 100 of 562 steps.
    """
    if log.base_loss is None or len(log.eval_loss) < 5 or not np.isfinite(log.eval_loss).all():
        return None
    falls = log.base_loss - log.eval_loss
    if falls[-1] <= 0:
        return None
    first = int(np.argmax(falls >= 0.95 * falls[-1]))
    step = float(log.eval_step[first])
    share = step / float(log.eval_step[-1])
    if share >= 0.4:
        return None
    return Finding(
        severity="note",
        message=f"95% of the gain was reached by step {int(step)}, {share:.0%} of the run"
        + _spent_after(log, step),
        evidence={"step": int(step), "share": round(share, 3)},
        fix={"early_stop_patience": 3},
    )


def _spent_after(log: Log, step: float) -> str:
    seconds = log.seconds[np.isfinite(log.seconds)]
    if not len(seconds) or len(seconds) != len(log.step):
        return ""
    after = seconds[-1] - float(np.interp(step, log.step, seconds))
    return f"; {after / 60:,.0f} minutes came after"


def accuracy_at_base(log: Log) -> Finding | None:
    """Token accuracy is no better than the untrained model's: the training changed no prediction.

    Computed: final held-out accuracy less than 0.2 percentage points above the base's.
    Try: a higher rate; see loss-flat.
    Source: the QLoRA post-mortem, whose accuracy went from 45.2% to 46.0%.
    """
    if log.base_accuracy is None or not log.ended:
        return None
    if not len(log.eval_accuracy) or not np.isfinite(log.eval_accuracy[-1]):
        return None
    accuracy = float(log.eval_accuracy[-1])
    gain = accuracy - log.base_accuracy
    if gain >= 0.002:
        return None
    return Finding(
        severity="warning",
        message=f"token accuracy is {accuracy:.1%}, the base's is {log.base_accuracy:.1%}",
        evidence={"gain": round(gain, 5)},
        fix=rate_times(log, 5),
    )


def labels_carry_nothing(log: Log) -> Finding | None:
    """The run knows no more than how often each answer occurs: its labels may carry nothing.

    Computed: the loss that the frequencies of the training answers alone give on the held-out ones: of whole
    answers where those repeat, else of tokens (our own logs hold it). The base's and every held-out loss are
    at least 97% of it, the training loss has come down to it (the last quarter of at least eight lines is
    under 110% of it, and the held-out loss has gone half of the way from the base's), and the held-out loss
    has stopped falling (under 2% at the last evaluation), after a pass over the data or at the end.
    Try: see whether answers belong to their prompts (rows shuffled, one label for all, a prompt that is cut
    away); if they do, more steps or a higher rate.
    Source: cross-entropy of independent labels is their entropy (Cover and Thomas, chapter 2); measured on
    the cases.
    """
    marginal, losses, held_out = log.marginal_loss, log.loss[np.isfinite(log.loss)], log.held_out
    if marginal is None or log.base_loss is None or len(losses) < 8 or not len(held_out):
        return None
    epochs = log.epoch[np.isfinite(log.epoch)]
    if not log.ended and (len(held_out) < 2 or not len(epochs) or epochs[-1] < 1):
        return None
    if len(held_out) > 1 and held_out[-1] < 0.98 * held_out[-2]:
        return None
    if min(log.base_loss, held_out.min()) < 0.97 * marginal:
        return None
    if losses[-max(3, len(losses) // 4) :].mean() > 1.1 * marginal + 0.02:
        return None
    if log.base_loss - held_out.min() < (log.base_loss - marginal) / 2:
        return None
    return Finding(
        severity="warning",
        message=f"the held-out loss came down to {held_out.min():.4f} and no further: the frequencies of the "
        f"answers alone give {marginal:.4f}",
        evidence={"marginal": round(marginal, 5), "held_out": round(float(held_out.min()), 5)},
        advice="see whether the answers belong to their prompts",
    )


def stopped_while_falling(log: Log) -> Finding | None:
    """The schedule ended while the loss was still falling: the run was too short.

    Computed: the fall of eval loss between the last two of at least four evaluations is over a tenth of the
    whole fall.
    Try: twice the steps.
    Source: the 0.6B study on Rust, whose second epoch lowered the loss from 1.004 to 0.963.
    """
    if log.base_loss is None or not log.ended:
        return None
    if len(log.eval_loss) < 4 or not np.isfinite(log.eval_loss).all():
        return None
    whole = float(log.base_loss - log.eval_loss[-1])
    last = float(log.eval_loss[-2] - log.eval_loss[-1])
    if whole <= 0 or last <= 0.1 * whole:
        return None
    return Finding(
        severity="note",
        message=f"{last / whole:.0%} of the whole gain came after the last evaluation but one",
        evidence={"last_share": round(last / whole, 3)},
        advice="train for twice the steps",
    )
