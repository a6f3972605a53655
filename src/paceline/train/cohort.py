"""The cohort: runs that train together in one process over one base."""

import time
from collections.abc import Callable, Sequence

import torch

from paceline.errors import UserError
from paceline.model.base import Base
from paceline.model.flat import Slice, using
from paceline.model.loss import slice_losses
from paceline.train.pieces import PIECE_TOKENS, Piece, bounds, join
from paceline.train.run import TrainingRun
from paceline.train.world import ALONE, World

# Tokens of one forward. On a CPU one piece fills the cores and its activations stay near the caches; a GPU wants more at once.
BUDGET = {"cpu": PIECE_TOKENS, "cuda": 8 * PIECE_TOKENS}

Chosen = list[tuple[TrainingRun, Piece, tuple[int, ...] | None]]


class Cohort:
    """Trains runs tick by tick. How many pieces share a tick changes the speed and never a bit (on a CPU, in fp32)."""

    def __init__(
        self, base: Base, runs: Sequence[TrainingRun], begin: Callable[[TrainingRun], None], budget: int | None = None, world: World = ALONE
    ) -> None:
        """`begin` starts a waiting run if what it starts from is ready."""
        self.base, self.runs, self._begin, self._world = base, list(runs), begin, world
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
            self.tick()
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

    def tick(self) -> None:
        """One forward and backward over pieces of the runs that are least far, then the steps that this completes."""
        chosen = self._choose()
        began = time.perf_counter()
        try:
            self._forward_backward(chosen)
        except torch.OutOfMemoryError as error:
            self._halve(chosen, error)
            return
        took = time.perf_counter() - began
        tokens = sum(piece.tokens for _, piece, _ in chosen) or 1
        for run, piece, _ in chosen:
            run.progress.seconds += took * piece.tokens / tokens
        for run in self.active:
            if run.next_piece() is None:
                run.finish_step()

    def _choose(self) -> Chosen:
        """Pieces up to the budget, at least one, from the runs in the order of their progress; a run's pieces stay together."""
        chosen: Chosen = []
        tokens = 0
        for run in sorted(self.active, key=lambda run: run.done):
            while (
                (piece := run.next_piece()) is not None
                and (not chosen or tokens + piece.tokens <= self.budget)
                and not (chosen and self._world.sharded)
            ):
                chosen.append((run, piece, run.take()))
                tokens += piece.tokens
        return chosen

    def _forward_backward(self, chosen: Chosen) -> None:
        if not chosen:  # this process has no piece of the step
            return
        pieces = [piece for _, piece, _ in chosen]
        slices = [Slice(start, stop, run.adapter, key) for (run, _, key), (start, stop) in zip(chosen, bounds(pieces), strict=True)]
        soft = [run.soft_targets(piece) for run, piece, _ in chosen]
        batch = join(pieces, slices, self.base.device)
        with using(batch):
            hidden = self.base.hidden(batch)
            gradient = torch.zeros_like(hidden)
            for (run, _, key), part, targets in zip(chosen, slices, soft, strict=True):
                if key is None:
                    continue
                losses = slice_losses(hidden.detach(), self.base.head, batch, part, gradient, run.scale, targets)
                run.add(losses)
            hidden.backward(gradient)

    def _halve(self, chosen: Chosen, error: torch.OutOfMemoryError) -> None:
        """Out of memory: the steps under way begin again with half the budget. The pieces stay the same, so the bits do."""
        largest = max(piece.tokens for _, piece, _ in chosen)
        if len(chosen) == 1:
            raise UserError(
                f"out of memory with a single piece of {largest} tokens of run {chosen[0][0].name!r}; lower max_length, or take a smaller base"
            ) from error
        self.budget //= 2
        for run, _, _ in chosen:
            run.restart_step()
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()
