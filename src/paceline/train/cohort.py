"""The cohort: runs that train together in one process over one base."""

import time
from collections.abc import Callable, Sequence

import torch

from paceline.errors import TrainingError
from paceline.model.base import Base
from paceline.train.distributed import SINGLE_PROCESS, DistributedContext
from paceline.train.micro_batches import MICRO_BATCH_TOKENS
from paceline.train.run import TrainingRun
from paceline.train.step import StepItem, forward_backward

# Tokens of one forward. On a CPU one piece fills the cores and its activations stay near the caches; a GPU wants more at once.
BUDGET = {"cpu": MICRO_BATCH_TOKENS, "cuda": 8 * MICRO_BATCH_TOKENS}

Chosen = list[tuple[TrainingRun, StepItem]]


class Cohort:
    """Trains runs tick by tick. How many pieces share a tick changes the speed and never a bit (on a CPU, in fp32)."""

    def __init__(
        self,
        base: Base,
        runs: Sequence[TrainingRun],
        begin: Callable[[TrainingRun], None],
        budget: int | None = None,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        """`begin` starts a waiting run if what it starts from is ready."""
        self.base, self.runs, self._begin, self._world = base, list(runs), begin, distributed
        self.budget = budget or BUDGET[base.device.type]
        self.stopping = False
        base.checkpoint_layers(any(run.recipe.gradient_checkpointing for run in runs))

    @property
    def active(self) -> list[TrainingRun]:
        return [run for run in self.runs if run.state == "running"]

    def train(self, observe: Callable[["Cohort"], None] = lambda cohort: None) -> None:
        """Trains every run to its end, or until `stopping` is set: then each saves its last step. `observe` is called after every tick."""
        while not self._told_to_stop():
            for run in self.runs:
                if run.state == "waiting":
                    self._begin(run)
            if not self.active:
                break
            self.micro_step()
            observe(self)
        for run in self.active:
            run.stop()

    def _told_to_stop(self) -> bool:
        """Several processes stop after the same step, or one would wait for the others for ever."""
        if self._world.size == 1:
            return self.stopping
        if all(run.between_steps for run in self.active):
            self.stopping = self._world.any(self.stopping)
            return self.stopping
        return False

    def micro_step(self) -> None:
        """One forward and backward over pieces of the runs that are least far, then the steps that this completes."""
        chosen = self._choose()
        began = time.perf_counter()
        try:
            if chosen:  # else this process has no piece of the step
                forward_backward(self.base, [item for _, item in chosen])
        except torch.OutOfMemoryError as error:
            self._halve(chosen, error)
            return
        took = time.perf_counter() - began
        tokens = sum(item.micro_batch.tokens for _, item in chosen) or 1
        for run, item in chosen:
            run.progress.seconds += took * item.micro_batch.tokens / tokens
        for run in self.active:
            if run.next_micro_batch() is None:
                run.finish_step()

    def _choose(self) -> Chosen:
        """Pieces up to the budget, at least one, from the runs in the order of their progress; a run's pieces stay together."""
        chosen: Chosen = []
        tokens = 0
        for run in sorted(self.active, key=lambda run: run.done):
            while (
                (micro_batch := run.next_micro_batch()) is not None
                and (not chosen or tokens + micro_batch.tokens <= self.budget)
                and not (chosen and self._world.sharded)
            ):
                chosen.append((run, run.take()))
                tokens += micro_batch.tokens
        return chosen

    def _halve(self, chosen: Chosen, error: torch.OutOfMemoryError) -> None:
        """Out of memory: the steps under way begin again with half the budget. The pieces stay the same, so the bits do."""
        largest = max(item.micro_batch.tokens for _, item in chosen)
        if len(chosen) == 1:
            raise TrainingError(
                f"out of memory with a single piece of {largest} tokens of run {chosen[0][0].name!r}; lower max_length, or take a smaller base"
            ) from error
        self.budget //= 2
        for run, _ in chosen:
            run.restart_step()
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()
