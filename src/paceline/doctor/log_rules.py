"""Rules over a log, while a run trains and afterwards. Most important first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paceline.doctor.finding import Finding, Rules
from paceline.doctor.log import Log

log_rules: Rules[Log] = Rules()


@log_rules
def low_coverage(log: Log) -> Finding | None:
    """The run ended before it had seen half of its training data once.

    Computed: the last line's epoch. Under 0.5 it is a warning: what a model has not seen it cannot learn. Where the loss has hardly moved as well
    (less than 0.5% held out, or 2% over the lines), it is an error, since it is then the first cause to repair.
    Try: more steps, or epochs in place of max_steps; a larger effective batch sees more a step.
    Source: the QLoRA post-mortem, whose run saw 8.9% of its data.
    """
    seen = _last(log.epoch)
    if seen is None or seen >= 0.5 or not _ended(log):
        return None
    return Finding(
        "error" if log.nothing_learned else "warning", f"the run saw {seen:.1%} of its training data", {"epochs": round(seen, 4)},
        {"max_steps": None, "epochs": 1}, "train for an epoch at least",
    )  # fmt: skip


@log_rules
def dead_learning_rate(log: Log) -> Finding | None:
    """For a good part of the run the learning rate was so low that nothing could change.

    Computed: the share of logged lines after the peak whose rate is under 1% of the peak. A cosine to zero spends 6.4% of its steps there, so more than 15% is
    a warning; where the loss has hardly moved as well, a rate whose last value is under 0.1% of its peak is named as a cause, an error.
    Try: more steps under the same schedule, a floor (cosine_with_min_lr, min_lr_ratio 0.1), or a constant rate with warm-up.
    Source: the QLoRA post-mortem (5e-5 to 5e-10 in 500 steps).
    """
    rates = log.lr[np.isfinite(log.lr)]
    if len(rates) < 5 or rates.max() <= 0:
        return None
    after = rates[int(rates.argmax()) :]
    dead = float((after < 0.01 * rates.max()).sum() / len(rates))
    fell = float(rates[-1] / rates.max())
    if dead <= 0.15 and not (log.nothing_learned and fell < 1e-3 and _ended(log)):
        return None
    return Finding(
        "error" if log.nothing_learned else "warning", f"the learning rate fell from {rates.max():.1e} to {rates[-1]:.1e}; {dead:.0%} of the run was under 1% of its peak",
        {"share_under_1_percent": round(dead, 4), "last_over_peak": fell}, {"lr_scheduler": "cosine_with_min_lr", "min_lr_ratio": 0.1}, "or a longer schedule",
    )  # fmt: skip


@log_rules
def zero_gradient(log: Log) -> Finding | None:
    """The gradient norm was exactly 0.0: nothing reached the adapter, and nothing was learned.

    Computed: logged lines with a norm of exactly 0.0. Rounding makes small norms, never zeros, so a single one is a warning; from 20 in a row, or all, it is an error.
    Try: check that the adapter is trainable and attached (`paceline check`), that labels are not all masked, and a base that is not quantized.
    Source: the QLoRA post-mortem; the teaching guide's first common issue.
    """
    zero = log.grad_norm == 0.0
    if not zero.any():
        return None
    longest = _longest_run(zero)
    known = np.isfinite(log.grad_norm)
    severe = longest >= 20 or (zero[known].all() and known.sum() >= 3)
    return Finding(
        "error" if severe else "warning", f"the gradient norm was exactly 0.0 on {int(zero.sum())} of {int(known.sum())} logged lines, {longest} in a row",
        {"lines": int(zero.sum()), "in_a_row": longest}, {"quantize": "none"}, "find out with `paceline check` which modules the loss does not reach",
    )  # fmt: skip


@log_rules
def tiny_batch(log: Log) -> Finding | None:
    """Batches of one or two examples where the run learned nothing: gradients are noisy, more so through a 4-bit base.

    Computed: the batch size in the log's own header, where the loss fell by less than 2%. Alone, a small batch is a choice (the preset small-batch has four
    examples a step and won its study), so this speaks only beside a failure.
    Try: an effective batch of 16 to 32; 8 bits in place of 4.
    Source: the QLoRA post-mortem, third cause.
    """
    if log.batch_size is None or log.batch_size > 2 or not log.nothing_learned or not _ended(log):
        return None
    return Finding(
        "error", f"batches of {log.batch_size} and a loss that fell by {log.gain:.2%} only: gradients too noisy, above all through a 4-bit base",
        {"batch_size": log.batch_size, "gain": round(log.gain, 5)}, {"batch_size": 2, "grad_accum": 16, "quantize": "int8"},
    )  # fmt: skip


@log_rules
def same_eval(log: Log) -> Finding | None:
    """Evaluations repeat to the last digit: the model that is evaluated does not change.

    Computed: neighbouring eval losses that are equal. Two different adapters never agree to the last digit; a log rounded to three digits may, so a pair needs five
    significant digits, or three evaluations must agree.
    Try: see zero-gradient; check that the evaluated model is the one that is trained.
    Source: the QLoRA post-mortem (2.9310 three times).
    """
    measured = np.isfinite(log.eval_loss)
    losses, steps = log.eval_loss[measured], log.eval_step[measured]
    if len(losses) < 2:
        return None
    same = (np.diff(losses) == 0) & (
        np.diff(steps) != 0
    )  # a run that stops early is evaluated at its last step once more
    longest = _longest_run(same) + 1
    if longest < 2 or (longest == 2 and len(f"{losses[0]:.10g}".replace(".", "")) < 5):
        return None
    return Finding(
        "error",
        f"{longest} evaluations in a row gave {losses[-1]:.10g}, to the last digit",
        {"evaluations": longest, "eval_loss": float(losses[-1])},
    )


@log_rules
def not_finite(log: Log) -> Finding | None:
    """A loss or a gradient norm was NaN or infinite. From there on nothing in the run means anything.

    Computed: any such figure.
    Try: a lower rate, clipping (max_grad_norm 1.0), bf16 in place of fp16; look at the batch of that step.
    Source: arithmetic.
    """
    if not log.not_finite:
        return None
    first = log.not_finite[0]
    return Finding(
        "error",
        f"loss or gradient is not finite from step {first} on",
        {"step": first},
        {"lr": _tenth(log), "max_grad_norm": 1.0},
    )


@log_rules
def loss_above_start(log: Log) -> Finding | None:
    """The loss ended, or stands, far above where it began: the run diverged.

    Computed: the last held-out loss against the base's, from 1.2 times on; where there is none, the mean of the last three lines against the lowest of the first three, from 1.5 times
    on and from eight lines on, since single lines differ by up to a third in healthy runs.
    Try: a tenth of the rate, more warm-up, clipping.
    Source: measured on the cases.
    """
    losses = log.loss[np.isfinite(log.loss)]
    held_out = log.eval_loss[np.isfinite(log.eval_loss)]
    if log.base_loss is not None and len(held_out):
        factor, limit = float(held_out[-1] / log.base_loss), 1.2
    elif len(losses) >= 8:
        factor, limit = float(losses[-3:].mean() / losses[:3].min()), 1.5
    else:
        return None
    if factor < limit:
        return None
    return Finding(
        "error",
        f"the loss stands at {factor:.2f} times its start",
        {"factor": round(factor, 3)},
        {"lr": _tenth(log), "warmup_ratio": 0.1, "max_grad_norm": 1.0},
    )


@log_rules
def loss_spikes(log: Log) -> Finding | None:
    """Single lines far above their neighbours: a bad batch, or a rate at the edge.

    Computed: lines over twice a running median of five, by more than eight times the median absolute deviation of all such differences, and over 1.3 times the level of the
    first fifth. All three: smooth logs have tiny deviations, noisy ones wide ones (up to 1.83 times the median in the healthy cases), and near zero anything is a multiple.
    Try: clipping, a lower rate; look at the examples of that step.
    Source: the usual robust outlier test (Hampel), with thresholds measured on the cases.
    """
    losses = log.loss[np.isfinite(log.loss)]
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
    where = [int(step) for step in log.step[np.isfinite(log.loss)][spikes][:5]]
    return Finding(
        "warning",
        f"the loss jumps at step {', '.join(map(str, where))}",
        {"steps": where},
        {"max_grad_norm": 0.5},
    )


@log_rules
def loss_flat(log: Log) -> Finding | None:
    """The loss shows no trend: the run learns nothing.

    Computed: the last held-out loss within 0.5% of the base's (a held-out loss has no noise of its own). Where the base's is not known: at least two held-out losses within 0.2% of each
    other, or none at all, and a Theil-Sen slope over the training lines (scipy.stats.theilslopes) whose 95% interval holds zero and whose fall is under 2%, from ten lines on.
    Try: five times the rate, check masks and template with `paceline check`.
    Source: Sen 1968; the teaching guide's third common issue.
    """
    fine = np.isfinite(log.loss)
    steps, losses = log.step[fine], log.loss[fine]
    held_out = log.eval_loss[np.isfinite(log.eval_loss)]
    if len(losses) < 10 or np.ptp(steps) == 0:
        return None
    if log.base_loss is not None and len(held_out):
        flat, fall = log.nothing_learned, log.gain
    else:
        slope, _, low, high = stats.theilslopes(_thin(losses), _thin(steps))
        fall = -float(slope) * float(np.ptp(steps)) / float(np.median(losses[: max(3, len(losses) // 3)]))
        moved = len(held_out) >= 2 and bool(abs(held_out[-1] / held_out[0] - 1) > 0.002)
        flat = not moved and abs(fall) < 0.02 and (bool(low <= 0 <= high) or len(held_out) >= 2)
    if not flat:
        return None
    return Finding(
        "error",
        f"the loss is flat: {fall:.2%} lower after {int(np.ptp(steps)):,} steps",
        {"fall": round(fall, 5)},
        {"lr": _times(log, 5)},
    )


@log_rules
def large_gradient(log: Log) -> Finding | None:
    """Gradient norms over 10 where 0.2 to 3 is usual for LoRA: the rate is at the edge, or the data odd.

    Computed: the median norm of the last half, or a rising trend (Theil-Sen on its logarithm) that multiplies it by more than five over the run to over 2.
    Try: clipping at 1.0, a lower rate.
    Source: the teaching guide (0.2 to 2.0 is good, over 10 explodes); the 0.6B study on Rust (1.5 to 3.0).
    """
    norms = log.grad_norm[np.isfinite(log.grad_norm) & (log.grad_norm > 0)]
    if len(norms) < 5:
        return None
    median = float(np.median(norms[len(norms) // 2 :]))
    thin = _thin(norms)
    growth = float(np.exp(stats.theilslopes(np.log(thin)).low_slope * len(thin)))
    if median <= 10 and not (growth > 5 and median > 2):
        return None
    return Finding(
        "warning",
        f"gradient norms around {median:.1f}, {growth:.1f} times their start at least",
        {"median": round(median, 3), "growth": round(growth, 3)},
        {"max_grad_norm": 1.0, "lr": _tenth(log)},
    )


@log_rules
def overfitting(log: Log) -> Finding | None:
    """The held-out loss rises while the training loss falls: the model learns the rows by heart.

    Computed: the last eval loss is over the lowest by more than 2% (evaluations of one adapter do not differ at all, so any steady rise is real; 2% is what a user would act on) and
    the training loss fell since the lowest evaluation.
    Try: stop at that step (load_best with eval_steps, or early_stop_patience), fewer epochs, more data, more dropout.
    Source: the textbook sign.
    """
    losses = log.eval_loss
    if len(losses) < 3 or not np.isfinite(losses).all():
        return None
    best = int(losses.argmin())
    rise = float(losses[-1] / losses[best] - 1)
    since = log.loss[(log.step > log.eval_step[best]) & np.isfinite(log.loss)]
    preflight_rules = log.loss[(log.step <= log.eval_step[best]) & np.isfinite(log.loss)]
    if (
        rise <= 0.02
        or best == len(losses) - 1
        or not len(since)
        or not len(preflight_rules)
        or since[-3:].mean() >= preflight_rules[-3:].mean()
    ):
        return None
    step = int(log.eval_step[best])
    return Finding(
        "warning",
        f"eval loss is {rise:.1%} over its lowest at step {step} while the training loss went on falling",
        {"best_step": step, "rise": round(rise, 4)},
        {"load_best": True, "early_stop_patience": 2},
        f"stop at step {step}",
    )


@log_rules
def early_plateau(log: Log) -> Finding | None:
    """Nearly all of the gain was had early; the rest of the run was paid for little.

    Computed: the first evaluation with 95% of the whole fall of eval loss from the base's. Before 40% of the run it is worth a note; with fewer than five evaluations the training
    loss is not used in their place, being too noisy.
    Try: fewer steps, or early_stop_patience; put the money into data.
    Source: the five-recipe study on Rust, where accuracy reached 80% within 50 to 100 of 562 steps.
    """
    if log.base_loss is None or len(log.eval_loss) < 5 or not np.isfinite(log.eval_loss).all():
        return None
    fall = log.base_loss - log.eval_loss
    if fall[-1] <= 0:
        return None
    first = int(np.argmax(fall >= 0.95 * fall[-1]))
    share = float(log.eval_step[first] / log.eval_step[-1])
    if share >= 0.4:
        return None
    spent = _spent_after(log, float(log.eval_step[first]))
    return Finding(
        "note",
        f"95% of the gain was had by step {int(log.eval_step[first])}, {share:.0%} of the run{spent}",
        {"step": int(log.eval_step[first]), "share": round(share, 3)},
        {"early_stop_patience": 3},
    )


@log_rules
def accuracy_at_base(log: Log) -> Finding | None:
    """Token accuracy is where the untrained model's was: the training changed no prediction.

    Computed: final held-out accuracy less than 0.2 percentage points above the base's.
    Try: a higher rate; see loss-flat.
    Source: the QLoRA post-mortem, whose accuracy went from 45.2% to 46.0%.
    """
    if (
        log.base_accuracy is None
        or not len(log.eval_accuracy)
        or not np.isfinite(log.eval_accuracy[-1])
        or not _ended(log)
    ):
        return None
    gain = float(log.eval_accuracy[-1] - log.base_accuracy)
    if gain >= 0.002:
        return None
    return Finding(
        "warning",
        f"token accuracy {log.eval_accuracy[-1]:.1%} against the base's {log.base_accuracy:.1%}",
        {"gain": round(gain, 5)},
        {"lr": _times(log, 5)},
    )


@log_rules
def stopped_while_falling(log: Log) -> Finding | None:
    """The schedule ended while the loss still fell: the run was too short.

    Computed: the fall of eval loss between the last two of at least four evaluations is over a tenth of the whole fall.
    Try: twice the steps.
    Source: the 0.6B study on Rust, whose second epoch lowered the loss from 1.004 to 0.963.
    """
    if (
        log.base_loss is None
        or len(log.eval_loss) < 4
        or not _ended(log)
        or not np.isfinite(log.eval_loss).all()
    ):
        return None
    whole, last = float(log.base_loss - log.eval_loss[-1]), float(log.eval_loss[-2] - log.eval_loss[-1])
    if whole <= 0 or last <= 0.1 * whole:
        return None
    return Finding(
        "note",
        f"the last stretch still gave {last / whole:.0%} of the whole gain",
        {"last_share": round(last / whole, 3)},
        advice="train for twice the steps",
    )


@log_rules
def b_still_zero(log: Log) -> Finding | None:
    """B is zero in whole modules: they add nothing to the base.

    Computed: norms of B by kind of module in the last line; exactly zero after five lines.
    Try: remove these modules from target_modules, or find out why the loss does not reach them (`paceline check`).
    Source: LoRA starts with B = 0 (arXiv:2106.09685); any gradient moves it.
    """
    modules = log.norms.get("modules", {})
    dead = [name for name, norms in modules.items() if norms["b"] == 0.0]
    if not dead or len(log) < 5:
        return None
    return Finding(
        "error",
        f"B is still zero in {', '.join(dead)}",
        {"modules": dead},
        advice="remove them from target_modules, or find what keeps the loss from them",
    )


@log_rules
def few_layers_learn(log: Log) -> Finding | None:
    """The update sits in few layers; the others add next to nothing.

    Computed: the share of the summed squared relative update that the top tenth of the layers (at least one) holds, from four layers on; over 80% is far from an even spread.
    Try: look at the layers named; lower the rate.
    Source: measured on the cases, where healthy runs stay under 30%.
    """
    layers = {name: value**2 for name, value in log.norms.get("layers", {}).items()}
    total = sum(layers.values())
    if len(layers) < 4 or total == 0 or not np.isfinite(total):
        return None
    top = sorted(layers, key=lambda name: -layers[name])[: max(1, len(layers) // 10)]
    share = sum(layers[name] for name in top) / total
    if share <= 0.8:
        return None
    return Finding(
        "warning",
        f"{share:.0%} of the update is in layer {', '.join(top)}",
        {"share": round(share, 3), "layers": top},
    )


@log_rules
def slower_and_slower(log: Log) -> Finding | None:
    """Tokens a second fell over the run: memory swaps, another process, a hot machine.

    Computed: the rate of the last fifth of the lines against the median of all; under 60% it is a warning. From ten lines on.
    Try: look at the machine; the result is not harmed.
    Source: runs beside others share time, so only a large drop speaks.
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
        "warning",
        f"{now:,.0f} tokens/s at the end where {usual:,.0f} were usual",
        {"now": round(now), "usual": round(usual)},
    )


@log_rules
def padding(log: Log) -> Finding | None:
    """Time spent on padding: examples of uneven length in one batch.

    Computed: where a log counts tokens both with and without padding (transformers' num_input_tokens_seen, TRL's num_tokens), the share that is padding; over 20% a warning.
    Try: a smaller per-device batch with more accumulation, packing, or sorting by length; nothing is padded here.
    Source: TRL at 16 rows a batch reached 98 tokens/s where 2 rows reached 346, on the same machine.
    """
    real, padded = _last(log.tokens), _last(log.padded)
    if not real or not padded or padded <= real / 0.8:
        return None
    return Finding(
        "warning",
        f"{1 - real / padded:.0%} of the tokens are padding",
        {"share": round(1 - real / padded, 3)},
        advice="a smaller per-device batch, or packing",
    )


@log_rules
def figures_missing(log: Log) -> Finding | None:
    """The log lacks figures that a judgement needs.

    Computed: columns without a single number, of loss, learning rate, gradient norm, and any evaluation.
    Try: eval_steps, logging_steps; a trainer that logs them.
    Source: the rules above, which are silent without them.
    """
    columns = {
        "loss": log.loss,
        "learning rate": log.lr,
        "gradient norm": log.grad_norm,
        "eval loss": log.eval_loss,
    }
    missing = [name for name, values in columns.items() if not np.isfinite(values).any()]
    if not missing or not _ended(log) or log.not_finite:
        return None
    return Finding(
        "note",
        f"the log has no {', no '.join(missing)}",
        {"missing": missing},
        advice="log them: without them much cannot be judged",
    )


def _thin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of neighbouring values, at most 400 of them: a slope over all pairs of a long log would take gigabytes."""
    block = -(-len(values) // 400)
    whole = len(values) // block * block
    return np.asarray(values[:whole].reshape(-1, block).mean(axis=1))


def _ended(log: Log) -> bool:
    """Whether the run is over: a log that does not know its length is taken for whole."""
    return log.total_steps is None or (len(log) > 0 and log.step[-1] >= log.total_steps)


def _last(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else None


def _longest_run(flags: NDArray[np.bool_]) -> int:
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def _times(log: Log, factor: float) -> float | None:
    rates = log.lr[np.isfinite(log.lr)]
    return float(f"{rates.max() * factor:.2g}") if len(rates) and rates.max() > 0 else None


def _tenth(log: Log) -> float | None:
    return _times(log, 0.1)


def _spent_after(log: Log, step: float) -> str:
    seconds = log.seconds[np.isfinite(log.seconds)]
    if not len(seconds) or len(seconds) != len(log.step):
        return ""
    after = seconds[-1] - float(np.interp(step, log.step, seconds))
    return f"; {after / 60:,.0f} minutes came after"
