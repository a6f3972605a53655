"""One run's own state: its adapter, optimizer, place in the data and log. It knows nothing of its neighbours."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from paceline.errors import TrainingError
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.runs.directory import RunDirectory
from paceline.runs.events import EventLog, read_events, write_trainer_state
from paceline.runs.files import whole_folder
from paceline.runs.losses import ExampleLosses
from paceline.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from paceline.train.distributed import SINGLE_PROCESS, DistributedContext
from paceline.train.heldout import held_out_losses
from paceline.train.hidden_cache import HiddenStateCache
from paceline.train.micro_batches import MicroBatch, make_micro_batches
from paceline.train.norms import adapter_norms, eval_alerts, step_alerts
from paceline.train.objective import Objective
from paceline.train.optimizer import make_optimizer
from paceline.train.order import DataOrder
from paceline.train.prepare import Prepared
from paceline.train.schedule import learning_rate
from paceline.train.step import StepItem
from paceline.train.stop_rules import BenchmarkEarlyStop

# Told every event as it is logged; gives the findings that the event brings.
Judge = Callable[[dict[str, Any]], list[dict[str, Any]]]
# Told every event that is new; a resumed run's earlier ones are not told again.
Sink = Callable[[dict[str, Any]], None]
# Gives the score of an adapter (None: the bare base) on the questions of `eval.mtbench.during`.
Probe = Callable[[Adapter | None], float]


def no_probe(adapter: Adapter | None) -> float:
    """Where nothing is there to ask and grade."""
    raise TrainingError(
        "eval.mtbench.during needs something that asks and grades; train with `paceline train` or `paceline study run`"
    )


class TrainingRun:
    """One run of a cohort, between its steps and inside them.

    `state` is waiting (for the run that it starts from), running, stopped, finished or failed.
    """

    def __init__(
        self, base: Base, prepared: Prepared, directory: RunDirectory, reference: HiddenStateCache, teacher: HiddenStateCache | None = None,
        judge: Judge = lambda event: [], probe: Probe = no_probe, sink: Sink = lambda event: None,
        distributed: DistributedContext = SINGLE_PROCESS,
    ) -> None:  # fmt: skip
        self.base, self.prepared, self.directory = base, prepared, directory
        self.recipe, self.plan = prepared.recipe, prepared.plan
        self.name = directory.name
        self.adapter: Adapter = base.new_adapter(self.recipe)
        self.parameter = torch.nn.Parameter(self.adapter.parameters)
        self.parameter.grad = self.adapter.gradients
        self.optimizer = make_optimizer(self.recipe, self.parameter)
        self.learning_rate = learning_rate(self.recipe, self.plan)
        self.progress = Progress()
        self.state = "waiting"
        self.last: dict[str, Any] = {}
        self.alerts: list[str] = []
        self.eval_summary: dict[str, Any] | None = None
        self._reference = reference if self.recipe.kl else None
        self._objective = Objective(self.recipe, prepared.dataset, self._reference, teacher)
        self._world = distributed
        self._micro_batches: list[MicroBatch] = []
        self._mine: list[tuple[int, MicroBatch]] = []
        self._taken = 0
        self._log = EventLog(directory.events)
        self._judge, self._probe, self._sink = judge, probe, sink
        self._score_watch = BenchmarkEarlyStop(
            self.recipe.eval.mtbench.during if self.recipe.eval.mtbench else None
        )
        self._condemned = ""

    # -- beginning ---------------------------------------------------------------------------------------------------------------------

    def start(self, base_losses: ExampleLosses, order_key: NDArray[Any] | None, parent: Path | None) -> None:
        """Starts at step 0, or goes on from the newest checkpoint as if it had never stopped.

        Args:
            order_key: what the examples of an epoch are sorted by; None: nothing.
            parent: folder of the adapter to start from; None: a new one.
        """
        self._order = DataOrder(self.recipe, self.plan, order_key)
        checkpoint = self.directory.latest_checkpoint()
        if checkpoint is None:
            self._start_anew(base_losses, parent)
        else:
            self.progress = load_checkpoint(checkpoint, self.adapter, self.optimizer)
            self._log.truncate(self.progress.events_bytes)
            for event in read_events(self.directory.events):
                self._judge(event)
                self._score_watch.see(event)
        self.directory.set_status("running")
        self.state = "running"
        self._begin_step()

    def _start_anew(self, base_losses: ExampleLosses, parent: Path | None) -> None:
        if parent is None:
            self.adapter.initialize(self.recipe.seed)
        else:
            self.adapter.load(parent)
        self._log.truncate(0)
        self._write(
            "start",
            total_steps=self.plan.total_steps,
            steps_per_epoch=self.plan.steps_per_epoch,
            **self.prepared.facts,
        )
        base_losses.save(self.directory.eval / "base.parquet")
        self._log_eval(base_losses.summary(self.recipe.phases), 0.0, "base")
        if parent is not None:
            self._evaluate("start")
        if self._score_watch.due(0):
            self._check_score(None)

    def _begin_step(self) -> None:
        chosen = self.prepared.split.train[self._order(self.progress.step)]
        self._micro_batches = list(make_micro_batches(self.prepared.dataset, chosen, self.recipe.max_length))
        most = -(-len(self._micro_batches) // self._world.size)
        self._mine = list(enumerate(self._micro_batches))[self._world.rank * most :][
            :most
        ]  # neighbours, so that sums are those of one process
        if (
            self._world.sharded
        ):  # all must run the same number of forwards: who has no piece left gives one without weight
            self._mine += [(-1, self._micro_batches[0])] * (most - len(self._mine))
        self.restart_step()

    def restart_step(self) -> None:
        """Forgets what the step under way has summed; its pieces come again, in the same order."""
        self._taken = 0
        self._objective.begin(self.progress.step, self._micro_batches, self._logs(self.progress.step + 1))
        self.adapter.gradients.zero_()

    # -- inside a step -----------------------------------------------------------------------------------------------------------------

    @property
    def done(self) -> float:
        """Share of the run that is behind it."""
        return (self.progress.step + self._taken / max(len(self._mine), 1)) / self.plan.total_steps

    @property
    def between_steps(self) -> bool:
        return self._taken == 0

    def next_micro_batch(self) -> MicroBatch | None:
        """The next piece of the step under way; None when all are taken."""
        return self._mine[self._taken][1] if self._taken < len(self._mine) else None

    def take(self) -> StepItem:
        """Counts the next piece as taken and returns its share of the step."""
        place, micro_batch = self._mine[self._taken]
        self._taken += 1
        if place < 0:
            return StepItem(micro_batch, self.adapter, None)
        return StepItem(
            micro_batch, self.adapter, self._objective, (self.recipe.seed, self.progress.step, place, 2)
        )

    # -- between steps -----------------------------------------------------------------------------------------------------------------

    def finish_step(self) -> None:
        """Clips, updates, logs, evaluates and saves as the recipe says; ends the run after its last step."""
        began = time.perf_counter()
        self._world.all_reduce(self.adapter.gradients)
        self._objective.all_reduce(self._world)
        figures, rate = self._objective.figures(), self.learning_rate(self.progress.step)
        grad_norm = float(torch.linalg.vector_norm(self.adapter.gradients))
        self._alert(step_alerts(self.progress, figures["loss"], grad_norm), self.progress.step + 1)
        if not math.isfinite(figures["loss"]) or not math.isfinite(grad_norm):
            self._fail(f"loss {figures['loss']}, grad_norm {grad_norm} at step {self.progress.step + 1}")
            return
        if self.recipe.max_grad_norm > 0:
            self.adapter.gradients.mul_(min(1.0, self.recipe.max_grad_norm / (grad_norm + 1e-6)))
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self._count(figures["loss"])
        self.progress.seconds += time.perf_counter() - began
        last = self.progress.step == self.plan.total_steps
        if self._logs(self.progress.step):
            self._log_train(rate, grad_norm, figures)
        if self.recipe.eval_steps and self.progress.step % self.recipe.eval_steps == 0 and not last:
            self._evaluate("eval")
            last = self._out_of_patience()
        if self._score_watch.due(self.progress.step) and not last:
            self._check_score(self.adapter)
            last = self._score_watch.over
        if self._condemned and not last:
            self._fail(self._condemned)
            return
        if last:
            self._finish()
            return
        if self.progress.step % self.recipe.save_steps == 0:
            self.save()
        self._begin_step()

    def _logs(self, step: int) -> bool:
        return step == self.plan.total_steps or step % self.recipe.logging_steps == 0

    def _count(self, loss: float) -> None:
        progress = self.progress
        progress.step += 1
        progress.tokens += sum(micro_batch.tokens for micro_batch in self._micro_batches)
        progress.supervised += self._objective.supervised
        progress.window_steps += 1
        progress.window_loss += loss
        progress.window_supervised += self._objective.supervised
        progress.window_correct += self._objective.correct

    def _epoch(self) -> float:
        return self.progress.step / self.plan.steps_per_epoch

    def _log_train(self, rate: float, grad_norm: float, figures: dict[str, float]) -> None:
        """One line: the mean loss of the steps since the last line, as transformers logs it; the last step's rate, norms and terms."""
        p = self.progress
        self.last = figures | {
            "step": p.step, "epoch": self._epoch(), "loss": p.window_loss / p.window_steps, "lr": rate, "grad_norm": grad_norm,
            "token_accuracy": p.window_correct / max(p.window_supervised, 1), "tokens": p.tokens, "supervised_tokens": p.supervised,
            "seconds": p.seconds,
        }  # fmt: skip
        self._write("train", **self.last, norms=adapter_norms(self.adapter, self.base.weight_norms))
        p.window_steps, p.window_loss, p.window_supervised, p.window_correct = 0, 0.0, 0, 0

    def _alert(self, alerts: list[dict[str, Any]], step: int) -> None:
        for alert in alerts:
            self._write("alert", step=step, **alert)
            self.alerts.append(f"{self.name}, step {step}: {alert['message']} ({alert['rule']})")

    def _write(self, event: str, **fields: Any) -> None:
        """Logs an event, and what the judge finds in it; an error condemns the run if its recipe says so."""
        self._log.write(event, **fields)
        self._sink({"event": event, **fields})
        for finding in self._judge({"event": event, **fields}):
            self._log.write("finding", step=self.progress.step, **finding)
            self.alerts.append(
                f"{self.name}, step {self.progress.step}: {finding['severity']}: {finding['message']} ({finding['rule']})"
            )
            if finding["severity"] == "error" and self.recipe.on_error == "stop":
                self._condemned = f"{finding['message']} ({finding['rule']})"

    def _held_out(self) -> ExampleLosses:
        examples = self.prepared.split.eval
        return held_out_losses(
            self.base,
            self.adapter,
            self.prepared.dataset,
            examples,
            self.recipe.max_length,
            reference=self._reference,
        )

    def _evaluate(self, name: str) -> ExampleLosses:
        began = time.perf_counter()
        losses = self._held_out()
        summary = losses.summary(self.recipe.phases)
        self._log_eval(summary, time.perf_counter() - began, name)
        if name == "eval":
            self._alert(eval_alerts(self.progress, summary["loss"]), self.progress.step)
        best = self.progress.best_loss
        if best is None or summary["loss"] < best:
            self.progress.best_loss, self.progress.best_step = summary["loss"], self.progress.step
            if self.recipe.load_best:
                with whole_folder(self.directory.best) as scratch:
                    self.adapter.save(scratch, self.recipe)
        return losses

    def _out_of_patience(self) -> bool:
        """Counts evaluations that were not better by min_delta, as transformers' EarlyStoppingCallback does."""
        if self.recipe.early_stop_patience is None or self.eval_summary is None:
            return False
        loss, p = self.eval_summary["loss"], self.progress
        if p.patience_loss is None or loss < p.patience_loss - self.recipe.early_stop_min_delta:
            p.patience_loss, p.patience_used = loss, 0
        else:
            p.patience_used += 1
        return p.patience_used >= self.recipe.early_stop_patience

    def _check_score(self, adapter: Adapter | None) -> None:
        """Asks a part of MT-Bench's questions."""
        began = time.perf_counter()
        event = {
            "step": self.progress.step,
            "epoch": self._epoch(),
            "name": "base" if adapter is None else "eval",
            "score": self._probe(adapter),
        }
        self._write("mtbench", **event, seconds=time.perf_counter() - began)
        self._score_watch.see({"event": "mtbench", **event})

    def _log_eval(self, summary: dict[str, Any], seconds: float, name: str) -> None:
        self.eval_summary = summary
        self._write(
            "eval", step=self.progress.step, epoch=self._epoch(), name=name, seconds=seconds, **summary
        )

    def save(self) -> None:
        """Writes a checkpoint of the last finished step."""
        self.progress.events_bytes = self._log.offset()
        folder = self.directory.checkpoints / f"step-{self.progress.step}"
        save_checkpoint(folder, self.recipe, self.adapter, self.optimizer, self.progress)
        self.directory.prune_checkpoints(self.recipe.save_limit)

    # -- ending ------------------------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Saves the last finished step and lets go; the same command goes on from there."""
        if self.state == "running":
            self.save()
            self._close("stopped", step=self.progress.step)

    def give_up(self, reason: str) -> None:
        """Ends a run that cannot begin."""
        self.alerts.append(f"{self.name}: {reason}")
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        self._log.write("failed", step=self.progress.step + 1, reason=reason)
        self._close("failed", step=self.progress.step, reason=reason)

    def _finish(self) -> None:
        losses = self._evaluate("final")
        if self.recipe.load_best and self.progress.best_step != self.progress.step:
            self.adapter.load(self.directory.best)
            losses = self._held_out()
            self._log_eval(losses.summary(self.recipe.phases), 0.0, "best")
        losses.save(self.directory.eval / "final.parquet")
        with whole_folder(self.directory.adapter) as scratch:
            self.adapter.save(scratch, self.recipe)
        p = self.progress
        self._close(
            "finished", step=p.step, tokens=p.tokens, supervised_tokens=p.supervised, seconds=p.seconds, best_step=p.best_step,
            stopped_early=p.step < self.plan.total_steps,
        )  # fmt: skip

    def _close(self, state: str, **figures: Any) -> None:
        self._log.close()
        write_trainer_state(
            self.directory.events, self.directory.trainer_state, self.plan.total_steps, self.recipe.epochs
        )
        self.directory.set_status(state, **figures)
        self.state = state
