"""The cohort: runs that train together in one process over one base."""

import time
from collections.abc import Callable, Sequence

import torch

from paceline.errors import TrainingError
from paceline.model.base import Base
from paceline.training.callbacks import Callback
from paceline.training.distributed import SINGLE_PROCESS, DistributedContext
from paceline.training.micro_batches import MICRO_BATCH_TOKENS
from paceline.training.run import TrainingRun
from paceline.training.step import StepItem, forward_backward

# Tokens of one forward. On a CPU one micro-batch fills the cores and its activations stay near the caches; a
# GPU wants
# more at once.
BUDGET = {"cpu": MICRO_BATCH_TOKENS, "cuda": 8 * MICRO_BATCH_TOKENS}

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
        self.token_budget = token_budget or BUDGET[base.device.type]
        self.stopped = False
        self._why = ""
        base.checkpoint_layers(any(run.recipe.gradient_checkpointing for run in runs))

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
                for run in self.active:
                    if run.queue.peek() is None:
                        self._finish_step(run)
            for callback in self._callbacks:
                callback.on_micro_step(self)
        for run in self.active:
            run.stop(self._why)

    def _finish_step(self, run: TrainingRun) -> None:
        """All micro-batches are summed: reduce, clip, step, log, evaluate, then end, save or go on."""
        stats = run.update()
        if not stats.finite:
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
                fits = tokens + micro_batch.tokens <= self.token_budget and not self._distributed.sharded
                if taken and not fits:
                    break
                taken.append((run, run.take()))
                tokens += micro_batch.tokens
        return taken

    def _forward_backward(self, taken: Taken) -> bool:
        """Whether it went well; out of memory, the steps under way begin again with half the budget."""
        began = time.perf_counter()
        try:
            if taken:  # else this process has no micro-batch of the step
                forward_backward(self.base, [item for _, item in taken])
        except torch.OutOfMemoryError as error:
            self._halve_budget(taken, error)
            return False
        seconds = time.perf_counter() - began
        tokens = sum(item.micro_batch.tokens for _, item in taken) or 1
        for run, item in taken:
            run.progress.seconds += seconds * item.micro_batch.tokens / tokens
        return True

    def _halve_budget(self, taken: Taken, error: torch.OutOfMemoryError) -> None:
        """The micro-batches stay the same, so the bits do."""
        if len(taken) == 1:
            ((run, item),) = taken
            raise TrainingError(
                f"out of memory with a single micro-batch of {item.micro_batch.tokens} tokens of run "
                f"{run.name!r}; lower max_length, or take a smaller base"
            ) from error
        self.token_budget //= 2
        for run, _ in taken:
            run.restart_step()
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()

    def _asked_to_stop(self) -> bool:
        """Several processes stop after the same step, or one would wait for the others for ever."""
        asking = [callback for callback in self._callbacks if callback.wants_stop()]
        wanted = bool(asking)
        self._why = asking[0].stop_reason if asking else "another process asked for it"
        if self._distributed.size == 1:
            self.stopped = wanted
        elif all(run.queue.fraction == 0 for run in self.active):
            self.stopped = self._distributed.any(wanted)
        return self.stopped
