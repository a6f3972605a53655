"""What a run minimises: cross-entropy and, where its recipe asks for them, a KL anchor and distillation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from paceline.config.objective import KL
from paceline.config.recipe import Recipe
from paceline.data.tokens import TokenDataset
from paceline.model.base import Base
from paceline.model.loss import SoftTarget, TokenLosses
from paceline.model.memory import upload
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.micro_batches import MicroBatch, TokenSequence

# How many times the gradient of a sum a loss's is in fp16, at first and at the least; powers of two change no
# digit.
FP16_MARGIN, LEAST_MARGIN = 16.0, 2.0**-20


def first_margin(base: Base) -> float | None:
    """What a step's gradient begins with where it passes through fp16 (see `StepLoss`); None: it does not."""
    return FP16_MARGIN if base.head.dtype == torch.float16 else None


def kl_weight(kl: KL, step: int) -> float:
    """Weight of the anchor at a step (from 0): 0 before `start_step`, then rising over `warmup_steps`."""
    if step < kl.start_step:
        return 0.0
    return kl.coef * (min(1.0, (step - kl.start_step) / kl.warmup_steps) if kl.warmup_steps else 1.0)


class Objective:
    """A run's loss: (1 - d) cross-entropy + weight x KL to the base + d x temperature² x KL to the teacher.

    `reference` gives the bare base's hidden states, `teacher` the teacher's; None where the recipe does not
    need them.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: TokenDataset,
        reference: HiddenStateCache | None = None,
        teacher: HiddenStateCache | None = None,
    ) -> None:
        self.recipe, self.dataset = recipe, dataset
        self.reference = reference if recipe.kl else None
        self.teacher = teacher if recipe.distill else None

    def begin(
        self,
        step: int,
        micro_batches: Sequence[MicroBatch],
        measure: bool = False,
        margin: float | None = None,
    ) -> StepLoss:
        """The loss of a step (from 0) over its micro-batches.

        Args:
            measure: compute the KL even where its weight is 0.
            margin: of a loss whose gradient passes through fp16; see `StepLoss`.
        """
        return StepLoss(self, step, micro_batches, measure, margin)


class StepLoss:
    """The loss of the step under way, summed micro-batch by micro-batch; known after `take`.

    Each term is a mean over its own positions of the whole effective batch: `positions` counts them by the
    term's name (cross_entropy, kl, distill), `weights` are the terms' factors in the loss. Where rows have
    weights, the means are weighted by them: a position counts as often as its row's weight says.

    The gradient that it gives is `gradient_scale` times its own: 1 but where it passes through fp16. A mean's
    would round to zero there, so it is made about `margin` times that of the sum, by a power of two (loss
    scaling, arXiv:1710.03740).
    """

    def __init__(
        self,
        objective: Objective,
        step: int,
        micro_batches: Sequence[MicroBatch],
        measure: bool,
        margin: float | None = None,
    ) -> None:
        self._objective = objective
        recipe = objective.recipe
        sequences = [sequence for micro_batch in micro_batches for sequence in micro_batch.sequences]
        self.supervised = sum(sequence.supervised for sequence in sequences)
        share = recipe.distill.weight if recipe.distill else 0.0
        self.weights = {"cross_entropy": 1 - share}
        self._tails = {"kl": recipe.kl.tail if recipe.kl else None}
        self.positions = {"cross_entropy": _count(sequences)}
        if kl := recipe.kl:
            weight = kl_weight(kl, step)
            if objective.reference and (weight > 0 or (kl.measure and measure)):
                self.weights["kl"] = weight
                self.positions["kl"] = _count(sequences, kl.tail)
        if recipe.distill and objective.teacher:
            self.weights["distill"] = share
            self.positions["distill"] = _count(sequences)
        self.gradient_scale = 1.0
        if margin is not None:
            positions = max(1.0, self.positions["cross_entropy"])
            self.gradient_scale = margin * 2.0 ** math.floor(math.log2(positions))
        self.correct = 0
        self._sums = dict.fromkeys(self.weights, 0.0)
        self._counted: list[Tensor] = []

    def scale(self, micro_batch: MicroBatch) -> float | Tensor:
        """Factor of the summed cross-entropy, or of each supervised position's."""
        return self._scale("cross_entropy", micro_batch)

    def soft_targets(self, micro_batch: MicroBatch) -> list[SoftTarget]:
        """The distributions that a micro-batch of the step is compared with, beside its labels."""
        objective, targets = self._objective, []
        kl, distill = objective.recipe.kl, objective.recipe.distill
        if "kl" in self.weights and kl and objective.reference:
            positions, states = objective.reference.of(objective.dataset, micro_batch, kl.tail)
            targets.append(
                SoftTarget(
                    name="kl",
                    positions=positions,
                    hidden=states,
                    head=objective.reference.base.head,
                    weight=self._scale("kl", micro_batch),
                    forward=kl.direction == "base-adapter",
                )
            )
        if "distill" in self.weights and distill and objective.teacher:
            positions, states = objective.teacher.of(objective.dataset, micro_batch, None)
            targets.append(
                SoftTarget(
                    name="distill",
                    positions=positions,
                    hidden=states,
                    head=objective.teacher.base.head,
                    weight=self._scale("distill", micro_batch),
                    forward=True,
                    temperature=distill.temperature,
                )
            )
        return targets

    def add(self, losses: TokenLosses, micro_batch: MicroBatch) -> None:
        """Counts what a micro-batch's forward gave, on its device."""
        counted = []
        for name in self.weights:
            values = losses.loss if name == "cross_entropy" else losses.divergences[name]
            values, weights = values.double(), micro_batch.weights(self._tails.get(name))
            counted.append((values if weights is None else values * upload(weights, values.device)).sum())
        self._counted.append(torch.stack([*counted, losses.correct.sum().double()]))

    def counted(self, device: torch.device) -> Tensor:
        """What was counted so far, in float64 on the device: each term's sum, and the correct positions."""
        total = torch.zeros(len(self.weights) + 1, dtype=torch.float64, device=device)
        for one in self._counted:
            total += one
        return total

    def take(self, counted: Sequence[float]) -> None:
        """Takes over the sums that `counted` gave, of all processes."""
        *sums, correct = counted
        self._sums, self.correct = dict(zip(self._sums, sums, strict=True)), int(correct)

    @property
    def terms(self) -> dict[str, float]:
        """The mean of each term in nats, by name."""
        return {name: total / (self.positions[name] or 1) for name, total in self._sums.items()}

    @property
    def value(self) -> float:
        """The loss in nats: the weighted sum of the terms."""
        terms, distill = self.terms, self._objective.recipe.distill
        factors = dict(self.weights)
        if distill and "distill" in factors:
            factors["distill"] *= distill.temperature**2
        return sum(factors[name] * value for name, value in terms.items())

    def _scale(self, term: str, micro_batch: MicroBatch) -> float | Tensor:
        """What a term's sum, or each of its positions, is multiplied by in the loss, temperature apart.

        And by `gradient_scale`.
        """
        weights = micro_batch.weights(self._tails.get(term))
        if weights is None:
            return self.weights[term] / self.positions[term] * self.gradient_scale
        return weights / self.positions[term] * self.weights[term] * self.gradient_scale


def _count(sequences: Sequence[TokenSequence], tail: int | None = None) -> float:
    """Positions of sequences, each as often as its row's weight says."""
    return sum(s.positions(tail) * (1 if s.weight is None else s.weight) for s in sequences)
