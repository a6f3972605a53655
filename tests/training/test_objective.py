"""KL anchor and distillation equal a plain two-model implementation, in loss and gradient."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM

from helpers import MakeBase, float64_by_default
from paceline.config.load import make_recipe
from paceline.config.objective import KL
from paceline.config.recipe import Recipe
from paceline.data.tokens import TokenDataset
from paceline.model.adapter import Adapter
from paceline.model.base import Base, wrap_model
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.micro_batches import MicroBatch, make_micro_batches
from paceline.training.objective import Objective, kl_weight
from paceline.training.prepare import Prepared
from paceline.training.step import StepItem, forward_backward

# (our logits, the base's, the teacher's, labels) of one sequence's supervised positions -> (cross-entropy,
# divergence, positions of each): sums.
Term = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, int, int]]


def test_the_weight_is_zero_then_rises_then_stays() -> None:
    kl = KL(coef=0.03, start_step=200, warmup_steps=300)
    assert [kl_weight(kl, s) for s in (0, 199, 200)] == [0, 0, 0]
    assert kl_weight(kl, 350) == pytest.approx(0.015)
    assert kl_weight(kl, 500) == kl_weight(kl, 9999) == 0.03
    assert [kl_weight(KL(coef=1, start_step=3), s) for s in (2, 3)] == [0, 1]


def make_double(folder: str, seed: int) -> Any:
    """A model in float64 with its own random weights."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


WEIGHTS = (0.25, 3.0, 1.0, 0.5, 2.0)


def weighted(pieces: list[MicroBatch]) -> list[MicroBatch]:
    """The same with weights of several sizes."""
    weights = cycle(WEIGHTS)
    return [MicroBatch([replace(s, weight=next(weights)) for s in piece.sequences]) for piece in pieces]


@dataclass
class Setting:
    """Base and teacher in float64, an adapter that is not zero, and one effective batch in two pieces."""

    folder: str
    base: Base
    teacher: Base
    adapter: Adapter
    dataset: TokenDataset
    pieces: list[MicroBatch]

    def take_step(self, objective: Objective, step: int) -> dict[str, float]:
        """The loss and its terms of a step as the cohort takes it; its gradient is the adapter's."""
        loss = objective.begin(step, self.pieces, measure=True)
        for piece in self.pieces:
            forward_backward(self.base, [StepItem(micro_batch=piece, adapter=self.adapter, loss=loss)])
        loss.take(loss.counted(self.base.device).tolist())
        return {"loss": loss.value, **loss.terms}


@pytest.fixture
def setting(tiny_base: MakeBase, prepared: Prepared) -> Setting:
    folder, dataset = tiny_base(), prepared.dataset
    base, teacher = wrap_model(make_double(folder, 1), "base"), wrap_model(make_double(folder, 2), "teacher")
    with float64_by_default():
        adapter = base.new_adapter(prepared.recipe)
    adapter.parameters.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
    examples = prepared.split.train
    pieces = [p for i in (0, 5) for p in make_micro_batches(dataset, examples[i : i + 5], 128)]
    return Setting(folder, base, teacher, adapter, dataset, pieces)


def recipe_with(**fields: Any) -> Recipe:
    return make_recipe({"base": "b", "data": "x", **fields}, "t")


def reference(setting: Setting, term: Term) -> tuple[list[Any], dict[str, list[Tensor]]]:
    """Sums of what `term` makes of our, the base's and the teacher's logits: whole models, autograd."""
    student, anchor, teacher = (make_double(setting.folder, seed) for seed in (1, 1, 2))
    adapter = setting.adapter
    leaves = {
        name: [half.detach().clone().requires_grad_() for half in pair]
        for name, pair in adapter.matrices.items()
    }
    merged = {
        f"{name}.weight": student.get_submodule(name).weight + adapter.scales[name] * b @ a
        for name, (a, b) in leaves.items()
    }
    sums = []
    for sequence in (s for piece in setting.pieces for s in piece.sequences):
        weight = 1.0 if sequence.weight is None else sequence.weight
        ids, keep = sequence.inputs[None], sequence.labels >= 0
        mine = torch.func.functional_call(student, merged, (ids,), {"use_cache": False}).logits[0]
        with torch.no_grad():
            base, other = (model(ids, use_cache=False).logits[0][keep] for model in (anchor, teacher))
        made = term(mine[keep], base, other, sequence.labels[keep])
        sums.append(tuple(weight * value for value in made))
    return [sum(values) for values in zip(*sums, strict=True)], leaves


def check(
    setting: Setting, term: Term, figures: dict[str, float], combine: Callable[[Tensor, Tensor], Tensor]
) -> None:
    (ce, kl, tokens, places), leaves = reference(setting, term)
    loss = combine(ce / tokens, kl / places)
    assert figures["loss"] == pytest.approx(loss.item(), abs=1e-6)
    grads = iter(torch.autograd.grad(loss, [half for pair in leaves.values() for half in pair]))
    for name in leaves:
        for mine in setting.adapter.gradient_of(name):
            torch.testing.assert_close(mine, next(grads), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("direction", ["adapter-base", "base-adapter"])
@pytest.mark.parametrize(("tail", "weigh"), [(None, False), (7, False), (7, True)])
def test_kl_anchor(setting: Setting, direction: str, tail: int | None, weigh: bool) -> None:
    setting.pieces = weighted(setting.pieces) if weigh else setting.pieces
    kl = {"coef": 0.3, "start_step": 2, "warmup_steps": 4, "tail": tail, "direction": direction}
    objective = Objective(recipe_with(kl=kl), setting.dataset, HiddenStateCache(setting.base), None)
    figures = setting.take_step(objective, 4)

    def term(mine: Tensor, anchor: Tensor, _: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int, int]:
        p, q = mine.log_softmax(-1), anchor.log_softmax(-1)
        p, q = (p, q) if direction == "adapter-base" else (q, p)
        divergence = (p.exp() * (p - q)).sum(-1)[-(tail or 0) :]
        entropy = F.cross_entropy(mine, labels, reduction="sum")
        return entropy, divergence.sum(), len(labels), len(divergence)

    check(setting, term, figures, lambda ce, kl: ce + 0.15 * kl)
    assert figures["kl"] > 0.01


@pytest.mark.parametrize("weigh", [False, True])
def test_distillation(setting: Setting, weigh: bool) -> None:
    setting.pieces = weighted(setting.pieces) if weigh else setting.pieces
    recipe = recipe_with(distill={"teacher": "t", "weight": 0.7, "temperature": 2.0})
    objective = Objective(recipe, setting.dataset, None, HiddenStateCache(setting.teacher))
    figures = setting.take_step(objective, 0)

    def term(mine: Tensor, _: Tensor, theirs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int, int]:
        p, q = (theirs / 2).log_softmax(-1), (mine / 2).log_softmax(-1)
        divergence = (p.exp() * (p - q)).sum(-1)
        entropy = F.cross_entropy(mine, labels, reduction="sum")
        return entropy, divergence.sum(), len(labels), len(labels)

    check(setting, term, figures, lambda ce, kl: 0.3 * ce + 0.7 * 4 * kl)


def test_weighted_rows_have_the_loss_and_gradient_of_a_weighted_mean(setting: Setting) -> None:
    setting.pieces = weighted(setting.pieces)
    figures = setting.take_step(Objective(recipe_with(), setting.dataset), 0)

    def term(mine: Tensor, _: Tensor, __: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int, int]:
        entropy = F.cross_entropy(mine, labels, reduction="sum")
        return entropy, entropy, len(labels), len(labels)

    check(setting, term, figures, lambda ce, _: ce)


def test_a_row_of_weight_two_counts_as_two_of_it(setting: Setting) -> None:
    sequences = [s for piece in setting.pieces for s in piece.sequences]
    kl = {"coef": 0.3, "tail": 7}
    objective = Objective(recipe_with(kl=kl), setting.dataset, HiddenStateCache(setting.base), None)
    found = []
    for pieces in (
        [MicroBatch([replace(s, weight=2.0 if s is sequences[0] else 1.0) for s in sequences])],
        [MicroBatch([sequences[0], *sequences])],
    ):
        setting.pieces = pieces
        setting.adapter.gradients.zero_()
        figures = setting.take_step(objective, 0)
        found.append((figures, setting.adapter.gradients.clone()))
    (weighed, slope), (twice, expected) = found
    assert weighed == pytest.approx(twice, rel=1e-9)
    torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-12)


def test_a_weight_of_zero_is_measured_only_where_a_step_is_logged(setting: Setting) -> None:
    reference = HiddenStateCache(setting.base)
    measured = Objective(recipe_with(kl={"measure": True}), setting.dataset, reference)
    assert measured.begin(0, setting.pieces, measure=True).weights == {"cross_entropy": 1.0, "kl": 0.0}
    assert measured.begin(0, setting.pieces).weights == {"cross_entropy": 1.0}
    silent = Objective(recipe_with(kl={"coef": 0.5, "start_step": 3}), setting.dataset, reference)
    weights = [silent.begin(step, setting.pieces, measure=True).weights.get("kl") for step in (2, 3)]
    assert weights == [None, 0.5]
