"""A run's evaluations while it trains: the held-out loss, a benchmark, and whether they say enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from paceline.errors import TrainingError
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.runs.directory import RunDirectory
from paceline.runs.events import EvaluationName
from paceline.runs.losses import ExampleLosses
from paceline.training.checkpoint import Progress, save_adapter
from paceline.training.heldout import held_out_losses
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.prepare import Prepared
from paceline.training.run_log import RunLog
from paceline.training.stop_rules import BenchmarkEarlyStop, LossPatience, Stop

# The score of an adapter (None: the bare base) after a step, on the questions of `eval.mtbench.during`.
Scorer = Callable[[Adapter | None, int], float]


def no_scorer(adapter: Adapter | None, step: int) -> float:
    """Where nothing is there to ask and grade."""
    raise TrainingError(
        "eval.mtbench.during needs something that asks and grades: train with paceline.run_study"
    )


class RunEvaluation:
    """Evaluates one run's adapter. `patience` and `early_stop` follow what the evaluations give."""

    def __init__(
        self,
        base: Base,
        prepared: Prepared,
        adapter: Adapter,
        directory: RunDirectory,
        progress: Progress,
        log: RunLog,
        reference: HiddenStateCache,
        scorer: Scorer,
    ) -> None:
        recipe = prepared.recipe
        self._base, self._prepared, self._adapter, self._directory = base, prepared, adapter, directory
        self._progress, self._log, self._scorer = progress, log, scorer
        self._reference = reference if recipe.kl else None
        self.patience = LossPatience(recipe, progress)
        self.early_stop = BenchmarkEarlyStop(recipe.eval.mtbench.during if recipe.eval.mtbench else None)

    @property
    def stop(self) -> Stop | None:
        """Why an early stop is due; None: none is."""
        return self.patience.stop or self.early_stop.stop

    def begin(self, base_losses: ExampleLosses, from_parent: bool) -> None:
        """What is known before the first step: the bare base, and an adapter that comes from elsewhere."""
        base_losses.save(self._directory.eval / "base.parquet")
        self._log.evaluation("base", base_losses.summary(self._prepared.recipe.phases), 0.0)
        if from_parent:
            self.held_out("start")
        if self.early_stop.due(0):
            self.benchmark(None)

    def if_due(self) -> None:
        """The evaluations on the way that the recipe asks for after this step."""
        step, recipe = self._progress.step, self._prepared.recipe
        if recipe.eval_steps and step % recipe.eval_steps == 0:
            self.held_out("eval")
        if self.early_stop.due(step) and not self.patience.over:
            self.benchmark(self._adapter)

    def held_out(self, name: EvaluationName) -> ExampleLosses:
        """Evaluates and logs the held-out examples; keeps the best adapter where the recipe wants it."""
        began = time.perf_counter()
        losses = self._losses()
        summary = losses.summary(self._prepared.recipe.phases)
        self._log.evaluation(name, summary, time.perf_counter() - began)
        if name == "eval":
            self.patience.see(summary.loss)
        progress = self._progress
        if progress.best_loss is None or summary.loss < progress.best_loss:
            progress.best_loss, progress.best_step = summary.loss, progress.step
            if self._prepared.recipe.load_best:
                save_adapter(self._directory.best, self._prepared.recipe, self._adapter)
        return losses

    def last(self) -> ExampleLosses:
        """The last evaluation; afterwards the adapter is the one to keep: the last, or the best one."""
        losses = self.held_out("final")
        recipe, progress = self._prepared.recipe, self._progress
        if recipe.load_best and progress.best_step != progress.step:
            self._adapter.load(self._directory.best)
            losses = self._losses()
            self._log.evaluation("best", losses.summary(recipe.phases), 0.0)
        return losses

    def benchmark(self, adapter: Adapter | None) -> None:
        """Asks a part of MT-Bench's questions; None: of the bare base."""
        began = time.perf_counter()
        ask = partial(self._scorer, adapter, self._progress.step)
        score = self._base.unless_out_of_memory(ask)
        if score is None:  # what training had kept for itself is free now
            score = self._base.unless_out_of_memory(ask)
        if score is None:
            raise TrainingError(
                "out of memory answering the questions of eval.mtbench.during; lower its max_new_tokens, "
                "or take a smaller base"
            )
        self.early_stop.see(self._log.score(adapter is None, score, time.perf_counter() - began))

    def _losses(self) -> ExampleLosses:
        prepared = self._prepared
        examples, max_length = prepared.split.eval, prepared.recipe.max_length
        return held_out_losses(
            self._base, self._adapter, prepared.dataset, examples, max_length, self._reference
        )
