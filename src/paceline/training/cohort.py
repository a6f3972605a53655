"""The cohort: runs that train together in one process over one base."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from paceline.errors import TrainingError
from paceline.model.base import Base
from paceline.training.budget import TokenBudget
from paceline.training.callbacks import Callback
from paceline.training.clock import DeviceClock
from paceline.training.distributed import SINGLE_PROCESS, DistributedContext
from paceline.training.run import TrainingRun
from paceline.training.step import StepItem, forward_backward

Taken = list[tuple[TrainingRun, StepItem]]


class Cohort:
    """Trains runs together.

    How many micro-batches share a forward changes the speed and never a bit (on a CPU, in fp32).

    `start` begins a waiting run if what it starts from is ready. `stopped` says whether a callback ended the
    training.
    """

    def __init__(
        self,
        base: Base,
        runs: Sequence[TrainingRun],
        start: Callable[[TrainingRun], None],
        callbacks: Sequence[Callback] = (),
        token_budget: int | None = None,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        self.base, self.runs, self._start = base, list(runs), start
        self._callbacks, self._distributed = callbacks, distributed
        self._budget, self._clock = TokenBudget(base.device, token_budget), DeviceClock(base.device)
        self.stopped = False
        self._why, self._between_steps = "", True
        base.checkpoint_layers(any(run.recipe.gradient_checkpointing for run in runs))

    @property
    def token_budget(self) -> int:
        """Tokens of one forward, as of now."""
        return self._budget.tokens

    @property
    def active(self) -> list[TrainingRun]:
        """The runs that are under way."""
        return [run for run in self.runs if run.state == "running"]

    def train(self) -> None:
        """Trains every run to its end, or until a callback asks for a stop: then each saves its last step."""
        while not self._asked_to_stop():
            self._start_waiting()
            if not self.active:
                break
            taken = self._take_micro_batches()
            if self._forward_backward(taken):
                self._finish_steps([run for run in self.active if run.queue.peek() is None])
            for callback in self._callbacks:
                callback.on_micro_step(self)
        for run in self.active:
            run.stop(self._why)

    def _finish_steps(self, runs: Sequence[TrainingRun]) -> None:
        """Of runs whose micro-batches are all summed; what they came to is read in one go."""
        if runs and self._distributed.any(False):
            raise TrainingError("another process ran out of memory; its own message says where")
        self._between_steps = bool(runs)
        reduced = [run.reduce() for run in runs]
        for run in runs:  # while a GPU works
            run.look_ahead()
        read = torch.cat(reduced).cpu().tolist() if reduced else []
        self._clock.settle()
        for run, own in zip(runs, reduced, strict=True):
            self._finish_step(run, [read.pop(0) for _ in own])

    def _finish_step(self, run: TrainingRun, reduced: Sequence[float]) -> None:
        """Clip, step, log, evaluate, then end, save or go on."""
        stats = run.update(reduced)
        if not stats.finite:
            if run.rescale(stats):
                return
            run.fail(f"loss {stats.loss}, grad_norm {stats.grad_norm} at step {stats.step}")
            return
        run.record(stats)
        if not run.at_end:
            run.evaluation.if_due()
        if run.at_end or run.evaluation.stop:
            run.finish()
        elif run.log.fatal:
            run.fail(run.log.fatal)
        else:
            run.save_if_due()
            run.begin_step()

    def _start_waiting(self) -> None:
        for run in self.runs:
            if run.state == "new":
                self._start(run)

    def _take_micro_batches(self) -> Taken:
        """Micro-batches up to the token budget, at least one, from the least advanced runs."""
        taken: Taken = []
        tokens = 0
        for run in sorted(self.active, key=lambda run: run.done):
            while (micro_batch := run.queue.peek()) is not None:
                fits = self.base.runs_share_forwards and tokens + micro_batch.tokens <= self.token_budget
                if taken and not fits:
                    break
                taken.append((run, run.take()))
                tokens += micro_batch.tokens
        return taken

    def _forward_backward(self, taken: Taken) -> bool:
        """Whether it went well; out of memory, the steps under way begin again with half the budget."""
        if not taken:  # this process has no micro-batch of the step
            return True
        began = self._clock.now()
        self._budget.begin()
        if self.base.unless_out_of_memory(partial(_forward_backward, self.base, taken)) is None:
            self._halve_budget(taken)
            return False
        tokens = sum(item.micro_batch.tokens for _, item in taken)
        self._budget.end(tokens)
        self._clock.tell_since(began, partial(_share_seconds, taken, tokens))
        return True

    def _halve_budget(self, taken: Taken) -> None:
        """The micro-batches stay the same, so the bits do."""
        if len(taken) == 1:
            ((run, item),) = taken
            self._distributed.any(True)  # the others learn of it at their step's end, and end too
            raise TrainingError(
                f"out of memory with a single micro-batch of {item.micro_batch.tokens} tokens of run "
                f"{run.name!r}; lower max_length, or take a smaller base"
            )
        self._budget.halve()
        for run, _ in taken:
            run.restart_step()

    def _asked_to_stop(self) -> bool:
        """Several processes stop after the same step, or one would wait for the others for ever."""
        asking = [callback for callback in self._callbacks if callback.wants_stop()]
        wanted = bool(asking)
        self._why = asking[0].stop_reason if asking else "another process asked for it"
        if self._distributed.size == 1:
            self.stopped = wanted
        elif self._between_steps:  # a step that begins again is not asked about twice
            self.stopped, self._between_steps = self._distributed.any(wanted), False
        return self.stopped


def _forward_backward(base: Base, taken: Taken) -> bool:
    """True, once it is done."""
    forward_backward(base, [item for _, item in taken])
    return True


def _share_seconds(taken: Taken, tokens: int, seconds: float) -> None:
    """Counts a forward's seconds on its runs, by their share of its tokens."""
    for run, item in taken:
        run.progress.seconds += seconds * item.micro_batch.tokens / tokens
