"""One line of any trainer's log as named figures, and what other trainers call them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from paceline.doctor.logs.log import EvalLine, LogBuilder, TrainLine

Entry: TypeAlias = Mapping[str, Any]
"""A line of another trainer's log, as it was parsed."""

_STEP = (
    "step",
    "current_steps",
    "global_step",
    "global_step/max_steps",
    "iteration",
    "iter",
    "train/global_step",
    "_step",
)
_TOTAL = ("total_steps", "max_steps")
_LOSS = ("loss", "train/loss", "train_loss", "reduced_train_loss", "training_loss")
_LR = ("learning_rate", "lr", "train/learning_rate", "train/lr")
_GRAD_NORM = ("grad_norm", "gradient_norm", "train/grad_norm", "total_grad_norm")
_ACCURACY = ("mean_token_accuracy", "token_accuracy", "token_acc", "train/mean_token_accuracy")
_EVAL_LOSS = re.compile(r"(?:eval|val|valid|validation|test)[_/](?:.*[_/])?loss")
_EVAL_ACCURACY = re.compile(
    r"(?:eval|val|valid|validation)[_/](?:.*[_/])?(?:mean_token_accuracy|token_acc\w*)"
)
# The held-out loss by itself, and parts of it that are none: of experts' routers, of regularizers.
_EVAL_LOSS_ITSELF = re.compile(r"(?:eval|val|valid|validation|test)[_/]loss")
_PARTS = re.compile(r"[_/](?:aux|router|kl|nll|z|lb|balanc\w*|load_balanc\w*|reg)[_/]")
WRAPPED = re.compile(r"(?:[\w.]+\.)?(?:float\d*|int\d*|tensor|array)\(\s*([^(),]*?)\s*(?:,[^()]*)?\)")
# A trainer's last word: means over the whole run, no step of it.
_SUMMARY = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}


def add_entry(builder: LogBuilder, entry: Entry) -> bool:
    """Adds a logged step or an evaluation; whether the line was one of the two.

    Where several sets are evaluated, the first one that a log names stands for all.
    """
    step, total = _step(entry)
    if total is not None and total > 0:
        builder.total_steps = int(total)
    builder.closed |= bool(_SUMMARY & set(entry))
    evaluations = _evaluations(entry)
    train_loss = _figure(entry, *_LOSS)
    if train_loss is None and _lacks_its_loss(entry, evaluations):
        train_loss = math.nan
    if evaluations and (builder.eval_name is None or builder.eval_name in evaluations):
        builder.eval_name = builder.eval_name or evaluations[0]
        loss, share = _figure(entry, builder.eval_name), _figure(entry, _accuracy(entry, builder.eval_name))
        if step == 0:
            builder.base_loss, builder.base_accuracy = loss, share
        elif train_loss is None or loss != builder.last_evaluation:  # some repeat it on every line
            builder.add_evaluation(EvalLine(step=step, loss=loss, accuracy=share))
        if train_loss is None:
            return True
    if not any(name in entry for name in _LOSS) or _SUMMARY & set(entry):
        return bool(evaluations) or bool(_SUMMARY & set(entry))
    builder.add_train(
        TrainLine(
            step=step,
            loss=train_loss,
            lr=_figure(entry, *_LR),
            grad_norm=_figure(entry, *_GRAD_NORM),
            accuracy=_figure(entry, *_ACCURACY),
            tokens=_figure(entry, "num_tokens", "tokens"),
            padded=_figure(entry, "num_input_tokens_seen"),
            seconds=_figure(entry, "elapsed", "seconds"),
            epoch=_figure(entry, "epoch", "train/epoch"),
        )
    )
    return True


def _evaluations(entry: Entry) -> list[str]:
    """Names of held-out losses in a line, the plain one first."""
    named = [name for name in entry if _EVAL_LOSS.fullmatch(name) and entry[name] is not None]
    whole = [name for name in named if not _PARTS.search(name)]
    return sorted(whole, key=lambda name: not _EVAL_LOSS_ITSELF.fullmatch(name))


def _accuracy(entry: Entry, loss: str) -> str:
    """The token accuracy of the set whose loss has this name, else of any."""
    named = [name for name in entry if _EVAL_ACCURACY.fullmatch(name)]
    return next((name for name in named if name.startswith(loss.removesuffix("loss"))), next(iter(named), ""))


def _lacks_its_loss(entry: Entry, evaluations: list[str]) -> bool:
    """Whether a training line's loss is null: JSON has no word for NaN."""
    named = any(name in entry for name in _LOSS)
    return named and not evaluations and not _SUMMARY & set(entry) and _figure(entry, *_LR) is not None


def _step(entry: Entry) -> tuple[float | None, float | None]:
    """(step, total steps) where a line has them; ms-swift writes both as 10/400."""
    total = _figure(entry, *_TOTAL)
    for name in _STEP:
        value = entry.get(name)
        if isinstance(value, str) and (both := re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", value)):
            return float(both[1]), float(both[2])
    step = _figure(entry, *_STEP)
    return (step if step is not None and math.isfinite(step) else None), total


def _figure(entry: Entry, *names: str) -> float | None:
    """The first figure of these names, also one printed as text, as tensor(0.7); None where there is none."""
    for name in names:
        if (value := entry.get(name)) is not None and not isinstance(value, bool):
            try:
                return float(WRAPPED.sub(r"\1", value) if isinstance(value, str) else value)
            except OverflowError:
                return math.nan
            except (TypeError, ValueError):
                continue
    return None
