"""A training log as columns of figures, whoever wrote it, and how it is built line by line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from paceline.runs.events import AdapterNorms

Array = NDArray[np.float64]

# Lines kept of a long log. Beyond that, every second one is dropped, as often as necessary.
_MOST_LINES = 40_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainLine:
    """The figures of one logged step: None was not logged, NaN was not finite.

    `tokens` and `padded` count the tokens so far, without and with padding; `step` None stands for the
    number of the line.
    """

    step: float | None = None
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    accuracy: float | None = None
    tokens: float | None = None
    padded: float | None = None
    seconds: float | None = None
    epoch: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalLine:
    """The figures of one evaluation; `step` None stands for the step of the last training line."""

    step: float | None = None
    loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Log:
    """Figures by logged step; NaN where a line lacks one.

    Shapes: `step`, `loss`, `lr`, `grad_norm`, `accuracy`, `tokens`, `padded` (tokens with padding),
    `seconds`, `epoch` (lines,); `eval_step`, `eval_loss`, `eval_accuracy` (evaluations on the way and at
    the end,).

    `base_loss` and `base_accuracy` are the untrained model's on the held-out examples, `marginal_loss` is
    what the frequencies of the answers alone give there, `norms` are the last line's. `not_finite` are the
    steps whose figures were NaN or infinite in the log itself, `zero_gradient` the steps at which the
    training step itself reported a gradient of zero, logged lines or not. `closed`: the log itself says that
    the run is over. `quantize` says how the base was stored (None: not known). `unread` counts lines that
    seem to hold figures and could not be read, `first_unread` is the first of them.
    """

    step: Array
    loss: Array
    lr: Array
    grad_norm: Array
    accuracy: Array
    tokens: Array
    padded: Array
    seconds: Array
    epoch: Array
    eval_step: Array
    eval_loss: Array
    eval_accuracy: Array
    base_loss: float | None = None
    base_accuracy: float | None = None
    marginal_loss: float | None = None
    norms: AdapterNorms | None = None
    not_finite: list[int] = field(default_factory=list)
    zero_gradient: list[int] = field(default_factory=list)
    total_steps: int | None = None
    closed: bool = False
    batch_size: int | None = None
    quantize: str | None = None
    unread: int = 0
    first_unread: str = ""

    def __len__(self) -> int:
        return len(self.step)

    @property
    def held_out(self) -> Array:
        """The finite held-out losses, in order."""
        return self.eval_loss[np.isfinite(self.eval_loss)]

    @property
    def gain(self) -> float:
        """The share by which the loss fell.

        Where both are known, from the base's held-out loss to the last one; else from the mean of the first
        third of the lines to that of the last third; 0 without any.
        """
        if self.base_loss is not None and len(self.held_out):
            return float(1 - self.held_out[-1] / self.base_loss) if self.base_loss else 0.0
        losses = self.loss[np.isfinite(self.loss)]
        third = len(losses) // 3
        first = losses[:third].mean() if third else 0.0
        return float(1 - losses[-third:].mean() / first) if first else 0.0

    @property
    def nothing_learned(self) -> bool:
        """Whether the loss moved by under 0.5% held out, or by under 2% over the lines, which are noisier."""
        measured = self.base_loss is not None and bool(len(self.held_out))
        return len(self) >= 5 and abs(self.gain) < (0.005 if measured else 0.02)

    @property
    def ended(self) -> bool:
        """Whether the run is over; a log that does not know its length counts as whole."""
        if self.total_steps is None or self.closed:
            return True
        last = [steps[-1] for steps in (self.step, self.eval_step) if len(steps)]
        return bool(last) and bool(np.nanmax(last) >= self.total_steps)


class LogBuilder:
    """Collects lines into a `Log`, in bounded memory."""

    def __init__(self) -> None:
        self.base_loss: float | None = None
        self.base_accuracy: float | None = None
        self.marginal_loss: float | None = None
        self.norms: AdapterNorms | None = None
        self.not_finite: list[int] = []
        self.zero_gradient: list[int] = []
        self.total_steps: int | None = None
        self.closed = False
        self.quantize: str | None = None
        self.eval_name: str | None = None
        self.unread = 0
        self.first_unread = ""
        self._trained: list[TrainLine] = []
        self._evaluated: list[EvalLine] = []
        self._seen, self._stride = 0, 1

    @property
    def last_evaluation(self) -> float | None:
        """The last held-out loss."""
        return self._evaluated[-1].loss if self._evaluated else None

    @property
    def empty(self) -> bool:
        """Whether no line has been added."""
        return not self._trained and not self._evaluated

    def add_train(self, line: TrainLine) -> None:
        """Adds a logged step; one that goes back begins there anew, as a run that was resumed does."""
        self._seen += 1
        if line.step is None:
            line = replace(line, step=self._seen)
        if self._trained and (line.step or 0) < (self._trained[-1].step or 0):
            self._forget_from(line.step or 0)
        if not (math.isfinite(line.loss or 0.0) and math.isfinite(line.grad_norm or 0.0)):
            self.not_finite.append(int(line.step or 0))
        if self._seen % self._stride == 0:
            self._trained.append(line)
        if len(self._trained) > _MOST_LINES:
            self._trained, self._stride = self._trained[1::2], 2 * self._stride

    def _forget_from(self, step: float) -> None:
        self._trained = [line for line in self._trained if (line.step or 0) < step]
        self._evaluated = [line for line in self._evaluated if (line.step or 0) < step]
        self.not_finite = [other for other in self.not_finite if other < step]

    def add_evaluation(self, line: EvalLine) -> None:
        """Adds an evaluation of the trained model."""
        if line.step is None:
            line = replace(line, step=self._trained[-1].step if self._trained else 0)
        if not math.isfinite(line.loss or 0.0):
            self.not_finite.append(int(line.step or 0))
        self._evaluated.append(line)
        del self._evaluated[:-_MOST_LINES]

    def add_unread(self, line: str) -> None:
        """Counts a line that seems to hold figures and could not be read."""
        self.unread += 1
        self.first_unread = self.first_unread or " ".join(line.split())[:120]

    def build(self, batch_size: int | None = None) -> Log:
        """The log so far."""
        trained, evaluated = self._trained, self._evaluated
        return Log(
            step=_column(line.step for line in trained),
            loss=_column(line.loss for line in trained),
            lr=_column(line.lr for line in trained),
            grad_norm=_column(line.grad_norm for line in trained),
            accuracy=_column(line.accuracy for line in trained),
            tokens=_column(line.tokens for line in trained),
            padded=_column(line.padded for line in trained),
            seconds=_column(line.seconds for line in trained),
            epoch=_column(line.epoch for line in trained),
            eval_step=_column(line.step for line in evaluated),
            eval_loss=_column(line.loss for line in evaluated),
            eval_accuracy=_column(line.accuracy for line in evaluated),
            base_loss=self.base_loss,
            base_accuracy=self.base_accuracy,
            marginal_loss=self.marginal_loss,
            norms=self.norms,
            not_finite=sorted(set(self.not_finite)),
            zero_gradient=sorted(set(self.zero_gradient)),
            total_steps=self.total_steps,
            closed=self.closed,
            batch_size=batch_size,
            quantize=self.quantize,
            unread=self.unread,
            first_unread=self.first_unread,
        )


def _column(values: Iterable[float | None]) -> Array:
    return np.asarray([math.nan if value is None else value for value in values], dtype=np.float64)
