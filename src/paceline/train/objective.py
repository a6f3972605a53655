"""What a run minimises: cross-entropy and, where its recipe asks for them, a KL anchor and distillation."""

from __future__ import annotations

import torch

from paceline.config.objective import KL
from paceline.config.recipe import Recipe
from paceline.data.tokens import TokenDataset
from paceline.model.loss import SoftTarget, TokenLosses
from paceline.train.distributed import DistributedContext
from paceline.train.hidden_cache import HiddenStateCache
from paceline.train.micro_batches import MicroBatch


def kl_weight(kl: KL, step: int) -> float:
    """Weight of the anchor at a step counted from 0: 0 before `start_step`, then rising linearly over `warmup_steps`."""
    if step < kl.start_step:
        return 0.0
    return kl.coef * (min(1.0, (step - kl.start_step) / kl.warmup_steps) if kl.warmup_steps else 1.0)


class Objective:
    """Loss of the step under way: (1 - d) cross-entropy + weight x KL to the base + d x KL to the teacher.

    Each term is a mean over its own positions of the whole effective batch. `anchor` gives the bare base's hidden states, `teacher` the
    teacher's; None where the recipe does not need them.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: TokenDataset,
        reference: HiddenStateCache | None,
        teacher: HiddenStateCache | None,
    ) -> None:
        self._recipe, self._dataset, self._reference, self._teacher = recipe, dataset, reference, teacher
        self._share = recipe.distill.weight if recipe.distill else 0.0
        self.begin(0, [], False)

    def begin(self, step: int, micro_batches: list[MicroBatch], measure: bool) -> None:
        """Forgets what was summed and takes the weights of a step. `measure`: the KL is wanted even where its weight is 0."""
        kl = self._recipe.kl
        self.supervised = sum(micro_batch.supervised for micro_batch in micro_batches)
        self._weight = kl_weight(kl, step) if kl else 0.0
        self._with_kl = kl is not None and (self._weight > 0 or (kl.measure and measure))
        tail = kl.tail if kl else None
        self._anchored = sum(
            min(tail or s.supervised, s.supervised)
            for micro_batch in micro_batches
            for s in micro_batch.sequences
        )
        self._sums: dict[str, float] = {}
        self.correct = 0

    @property
    def scale(self) -> float:
        """Factor of the summed cross-entropy."""
        return (1 - self._share) / self.supervised

    def soft_targets(self, micro_batch: MicroBatch) -> list[SoftTarget]:
        """The distributions that a piece of the step is compared with, beside its labels."""
        found = []
        kl, distill = self._recipe.kl, self._recipe.distill
        if self._with_kl and kl and self._reference:
            places, states = self._reference.of(self._dataset, micro_batch, kl.tail)
            forward = kl.direction == "base-adapter"
            found.append(
                SoftTarget(places, states, self._reference.base.head, self._weight / self._anchored, forward)
            )
        if distill and self._teacher:
            places, states = self._teacher.of(self._dataset, micro_batch, None)
            weight = self._share / self.supervised
            found.append(
                SoftTarget(places, states, self._teacher.base.head, weight, True, distill.temperature)
            )
        return found

    def add(self, losses: TokenLosses) -> None:
        """Counts what a piece's forward gave."""
        names = ["kl"] * self._with_kl + ["distill"] * (self._teacher is not None)
        self._sum("cross_entropy", float(losses.loss.double().sum()))
        for name, values in zip(names, losses.divergences, strict=True):
            self._sum(name, float(values.double().sum()))
        self.correct += int(losses.correct.sum())

    def all_reduce(self, distributed: DistributedContext) -> None:
        """Adds what the other processes have counted."""
        if distributed.size == 1:
            return
        names = ["cross_entropy", *["kl"] * self._with_kl, *["distill"] * (self._teacher is not None)]
        told = torch.tensor(
            [*(self._sums.get(name, 0.0) for name in names), self.correct],
            dtype=torch.float64,
            device=distributed.device,
        )
        distributed.all_reduce(told)
        self._sums, self.correct = dict(zip(names, told.tolist()[:-1], strict=True)), int(told[-1])

    def _sum(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value

    def figures(self) -> dict[str, float]:
        """`loss`, and beside it the terms that it is made of where there is more than one; all in nats."""
        positions = max(self.supervised, 1)
        terms = {
            name: total / (max(self._anchored, 1) if name == "kl" else positions)
            for name, total in self._sums.items()
        }
        loss = (1 - self._share) * terms.get("cross_entropy", 0.0) + self._weight * terms.get("kl", 0.0)
        if self._recipe.distill:
            loss += self._share * self._recipe.distill.temperature**2 * terms.get("distill", 0.0)
        if set(terms) <= {"cross_entropy"}:
            return {"loss": loss}
        return {"loss": loss, **terms} | ({"kl_weight": self._weight} if "kl" in terms else {})
