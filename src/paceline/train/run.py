"""One run's own state: its adapter, optimizer, place in the data and log. It knows nothing of its neighbours."""

import math
import time
from typing import Any

import torch

from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.model.loss import TokenLosses
from paceline.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from paceline.train.events import EventLog, write_trainer_state
from paceline.train.files import whole_folder
from paceline.train.heldout import ExampleLosses, held_out_losses
from paceline.train.order import step_examples
from paceline.train.pieces import Piece, cut
from paceline.train.prepare import Prepared
from paceline.train.rundir import RunDirectory
from paceline.train.schedule import learning_rate


class TrainingRun:
    """One run of a cohort, between its steps and inside them."""

    def __init__(self, base: Base, prepared: Prepared, directory: RunDirectory) -> None:
        self.base, self.prepared, self.directory = base, prepared, directory
        self.recipe, self.plan = prepared.recipe, prepared.plan
        self.name = directory.name
        self.adapter: Adapter = base.new_adapter(self.recipe)
        self.parameter = torch.nn.Parameter(self.adapter.parameters)
        self.parameter.grad = self.adapter.gradients
        betas = (self.recipe.adam_beta1, self.recipe.adam_beta2)
        self.optimizer = torch.optim.AdamW(
            [self.parameter],
            lr=self.recipe.lr,
            betas=betas,
            eps=self.recipe.adam_epsilon,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        self.learning_rate = learning_rate(self.recipe, self.plan)
        self.progress = Progress()
        self.state = "running"
        self.last: dict[str, Any] = {}
        self.eval_summary: dict[str, Any] | None = None
        self._pieces: list[Piece] = []
        self._taken = 0
        self._loss = 0.0
        self._correct = 0
        self._log = EventLog(directory.events)

    # -- beginning ---------------------------------------------------------------------------------------------------------------------

    def start(self, base_losses: ExampleLosses) -> None:
        """Starts at step 0, or goes on from the newest checkpoint as if it had never stopped."""
        checkpoint = self.directory.latest_checkpoint()
        if checkpoint is None:
            self.adapter.initialize(self.recipe.seed)
            self._log.cut(0)
            self._log.write("start", total_steps=self.plan.total_steps, steps_per_epoch=self.plan.steps_per_epoch, **self.prepared.facts)
            base_losses.save(self.directory.eval / "base.parquet")
            self._log_eval(base_losses.summary(), 0.0, "base")
        else:
            self.progress = load_checkpoint(checkpoint, self.adapter, self.optimizer)
            self._log.cut(self.progress.events_bytes)
        self.directory.set_status("running")
        self._begin_step()

    def _begin_step(self) -> None:
        chosen = self.prepared.split.train[step_examples(self.recipe, self.plan, self.progress.step)]
        self._pieces = list(cut(self.prepared.dataset, chosen, self.recipe.max_length))
        self.restart_step()

    def restart_step(self) -> None:
        """Forgets what the step under way has summed; its pieces come again, in the same order."""
        self._taken, self._loss, self._correct = 0, 0.0, 0
        self.adapter.gradients.zero_()

    # -- inside a step -----------------------------------------------------------------------------------------------------------------

    @property
    def done(self) -> float:
        """Share of the run that is behind it."""
        return (self.progress.step + self._taken / max(len(self._pieces), 1)) / self.plan.total_steps

    @property
    def supervised(self) -> int:
        """Supervised tokens of the step: the denominator of its loss."""
        return sum(piece.supervised for piece in self._pieces)

    def next_piece(self) -> Piece | None:
        """The next piece of the step under way; None when all are taken."""
        return self._pieces[self._taken] if self._taken < len(self._pieces) else None

    def take(self) -> tuple[int, ...]:
        """Counts the next piece as taken and returns its dropout key."""
        key = (self.recipe.seed, self.progress.step, self._taken, 2)
        self._taken += 1
        return key

    def add(self, losses: TokenLosses) -> None:
        """Counts what a piece's forward gave."""
        self._loss += float(losses.loss.double().sum())
        self._correct += int(losses.correct.sum())

    # -- between steps -----------------------------------------------------------------------------------------------------------------

    def finish_step(self) -> None:
        """Clips, updates, logs, evaluates and saves as the recipe says; ends the run after its last step."""
        began = time.perf_counter()
        supervised = max(self.supervised, 1)
        loss, rate = self._loss / supervised, self.learning_rate(self.progress.step)
        grad_norm = float(torch.linalg.vector_norm(self.adapter.gradients))
        if not math.isfinite(loss) or not math.isfinite(grad_norm):
            self._fail(loss, grad_norm)
            return
        if self.recipe.max_grad_norm > 0:
            self.adapter.gradients.mul_(min(1.0, self.recipe.max_grad_norm / (grad_norm + 1e-6)))
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self._count(loss, supervised)
        self.progress.seconds += time.perf_counter() - began
        last = self.progress.step == self.plan.total_steps
        if last or self.progress.step % self.recipe.logging_steps == 0:
            self._log_train(rate, grad_norm)
        if self.recipe.eval_steps and self.progress.step % self.recipe.eval_steps == 0 and not last:
            self._evaluate("eval")
        if last:
            self._finish()
            return
        if self.progress.step % self.recipe.save_steps == 0:
            self.save()
        self._begin_step()

    def _count(self, loss: float, supervised: int) -> None:
        progress = self.progress
        progress.step += 1
        progress.tokens += sum(piece.tokens for piece in self._pieces)
        progress.supervised += supervised
        progress.window_steps += 1
        progress.window_loss += loss
        progress.window_supervised += supervised
        progress.window_correct += self._correct

    def _epoch(self) -> float:
        return self.progress.step / self.plan.steps_per_epoch

    def _log_train(self, rate: float, grad_norm: float) -> None:
        """One line: the mean loss of the steps since the last line, as transformers logs it, and the last step's rate and norm."""
        p = self.progress
        self.last = {
            "step": p.step, "epoch": self._epoch(), "loss": p.window_loss / p.window_steps, "lr": rate, "grad_norm": grad_norm,
            "token_accuracy": p.window_correct / p.window_supervised, "tokens": p.tokens, "supervised_tokens": p.supervised, "seconds": p.seconds,
        }  # fmt: skip
        self._log.write("train", **self.last)
        p.window_steps, p.window_loss, p.window_supervised, p.window_correct = 0, 0.0, 0, 0

    def _evaluate(self, name: str) -> ExampleLosses:
        began = time.perf_counter()
        losses = held_out_losses(self.base, self.adapter, self.prepared.dataset, self.prepared.split.eval, self.recipe.max_length)
        summary = losses.summary()
        self._log_eval(summary, time.perf_counter() - began, name)
        best = self.progress.best_loss
        if self.recipe.load_best and (best is None or summary["loss"] < best):
            self.progress.best_loss, self.progress.best_step = summary["loss"], self.progress.step
            with whole_folder(self.directory.best) as scratch:
                self.adapter.save(scratch, self.recipe)
        return losses

    def _log_eval(self, summary: dict[str, Any], seconds: float, name: str) -> None:
        self.eval_summary = summary
        self._log.write("eval", step=self.progress.step, epoch=self._epoch(), name=name, seconds=seconds, **summary)

    def save(self) -> None:
        """Writes a checkpoint of the last finished step."""
        self.progress.events_bytes = self._log.offset()
        folder = self.directory.checkpoints / f"step-{self.progress.step}"
        save_checkpoint(folder, self.recipe, self.adapter, self.optimizer, self.progress)
        self.directory.prune_checkpoints(self.recipe.save_limit)

    # -- ending ------------------------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Saves the last finished step and lets go; the same command goes on from there."""
        self.save()
        self._close("stopped", step=self.progress.step)

    def _fail(self, loss: float, grad_norm: float) -> None:
        step = self.progress.step + 1
        self._log.write("failed", step=step, loss=loss, grad_norm=grad_norm, reason="loss or gradient is not finite")
        self._close("failed", step=step, reason=f"loss {loss}, grad_norm {grad_norm} at step {step}")

    def _finish(self) -> None:
        losses = self._evaluate("final")
        if self.recipe.load_best and self.progress.best_step != self.progress.step:
            self.adapter.load(self.directory.best)
            losses = held_out_losses(self.base, self.adapter, self.prepared.dataset, self.prepared.split.eval, self.recipe.max_length)
            self._log_eval(losses.summary(), 0.0, "best")
        losses.save(self.directory.eval / "final.parquet")
        with whole_folder(self.directory.adapter) as scratch:
            self.adapter.save(scratch, self.recipe)
        p = self.progress
        self._close("finished", step=p.step, tokens=p.tokens, supervised_tokens=p.supervised, seconds=p.seconds, best_step=p.best_step)

    def _close(self, state: str, **figures: Any) -> None:
        self._log.close()
        write_trainer_state(self.directory.events, self.directory.trainer_state, self.plan.total_steps, self.recipe.epochs)
        self.directory.set_status(state, **figures)
        self.state = state
