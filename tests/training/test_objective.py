"""KL anchor and distillation equal a plain two-model implementation, in loss and gradient."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import MakeBase
from paceline.config.load import make_recipe
from paceline.config.objective import KL
from paceline.data.tokens import load_tokens
from paceline.model.base import wrap_model
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.micro_batches import make_micro_batches
from paceline.training.objective import Objective, kl_weight
from paceline.training.prepare import Preparer
from paceline.training.step import StepItem, forward_backward


def test_the_weight_is_zero_then_rises_then_stays() -> None:
    kl = KL(coef=0.03, start_step=200, warmup_steps=300)
    assert [kl_weight(kl, s) for s in (0, 199, 200)] == [0, 0, 0]
    assert kl_weight(kl, 350) == pytest.approx(0.015)
    assert kl_weight(kl, 500) == kl_weight(kl, 9999) == 0.03
    assert [kl_weight(KL(coef=1, start_step=3), s) for s in (2, 3)] == [0, 1]


def make_double(folder: Any, seed: Any) -> Any:
    """A base in float64, hooked up, with its own random weights."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture
def setting(tiny_base: MakeBase, sums: str) -> Any:
    """Base and teacher in float64, an adapter that is not zero, and one effective batch in two pieces."""
    folder = tiny_base("qwen3")
    recipe = make_recipe(
        {
            "base": folder,
            "data": {"source": sums, "n": 40},
            "lora_r": 4,
            "lora_dropout": 0.0,
            "max_length": 128,
        },
        "test",
    )
    dataset = load_tokens(recipe.data, Preparer().chat(folder))
    base, teacher = wrap_model(make_double(folder, 1), "base"), wrap_model(make_double(folder, 2), "teacher")
    adapter = _in_double(base, recipe)
    pieces = [p for start in (0, 5) for p in make_micro_batches(dataset, range(start, start + 5), 128)]
    return folder, base, teacher, adapter, dataset, pieces


def _in_double(base: Any, recipe: Any) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        adapter = base.new_adapter(recipe)
        adapter.parameters.copy_(
            torch.from_numpy(np.random.default_rng(0).normal(0, 0.05, len(adapter.parameters)))
        )
    finally:
        torch.set_default_dtype(before)
    return adapter


def ours(base: Any, adapter: Any, objective: Any, pieces: Any, step: Any) -> Any:
    """Loss and gradient of a step as the cohort takes it."""
    loss = objective.begin(step, pieces, measure=True)
    adapter.gradients.zero_()
    for piece in pieces:
        forward_backward(base, [StepItem(micro_batch=piece, adapter=adapter, loss=loss)])
    return {"loss": loss.value, **loss.terms}, adapter.gradients.clone()


def reference(folder: Any, adapter: Any, pieces: Any, term: Any) -> Any:
    """Sums of what `term` makes of our, the base's and the teacher's logits: whole models, autograd."""
    student, anchor, teacher = (make_double(folder, seed) for seed in (1, 1, 2))
    leaves = {
        name: [half.detach().clone().requires_grad_() for half in pair]
        for name, pair in adapter.matrices.items()
    }
    merged = {
        f"{name}.weight": student.get_submodule(name).weight + adapter.scale * b @ a
        for name, (a, b) in leaves.items()
    }
    sums = []
    for sequence in (s for piece in pieces for s in piece.sequences):
        ids, keep = sequence.inputs[None], sequence.labels >= 0
        mine = torch.func.functional_call(student, merged, (ids,), {"use_cache": False}).logits[0]
        with torch.no_grad():
            others = [model(ids, use_cache=False).logits[0][keep] for model in (anchor, teacher)]
        sums.append(term(mine[keep], *others, sequence.labels[keep]))
    return [sum(values) for values in zip(*sums, strict=True)], leaves


@pytest.mark.parametrize("direction", ["adapter-base", "base-adapter"])
@pytest.mark.parametrize("tail", [None, 7])
def test_kl_anchor(setting: Any, direction: Any, tail: Any) -> None:
    folder, base, _, adapter, dataset, pieces = setting
    recipe = make_recipe(
        {
            "base": folder,
            "data": "x",
            "kl": {"coef": 0.3, "start_step": 2, "warmup_steps": 4, "tail": tail, "direction": direction},
        },
        "t",
    )
    figures, gradient = ours(
        base, adapter, Objective(recipe, dataset, HiddenStateCache(base), None), pieces, 4
    )

    def term(mine: Any, anchor: Any, _: Any, labels: Any) -> Any:
        p, q = mine.log_softmax(-1), anchor.log_softmax(-1)
        p, q = (p, q) if direction == "adapter-base" else (q, p)
        divergence = (p.exp() * (p - q)).sum(-1)[-(tail or 0) :]
        return (
            torch.nn.functional.cross_entropy(mine, labels, reduction="sum"),
            divergence.sum(),
            len(labels),
            len(divergence),
        )

    check(folder, adapter, pieces, term, figures, gradient, lambda ce, kl: ce + 0.15 * kl)
    assert figures["kl"] > 0.01


def test_distillation(setting: Any) -> None:
    folder, base, teacher, adapter, dataset, pieces = setting
    recipe = make_recipe(
        {"base": folder, "data": "x", "distill": {"teacher": "t", "weight": 0.7, "temperature": 2.0}}, "t"
    )
    figures, gradient = ours(
        base, adapter, Objective(recipe, dataset, None, HiddenStateCache(teacher)), pieces, 0
    )

    def term(mine: Any, _: Any, theirs: Any, labels: Any) -> Any:
        p, q = (theirs / 2).log_softmax(-1), (mine / 2).log_softmax(-1)
        divergence = (p.exp() * (p - q)).sum(-1)
        return (
            torch.nn.functional.cross_entropy(mine, labels, reduction="sum"),
            divergence.sum(),
            len(labels),
            len(labels),
        )

    check(folder, adapter, pieces, term, figures, gradient, lambda ce, kl: 0.3 * ce + 0.7 * 4 * kl)


def check(
    folder: Any, adapter: Any, pieces: Any, term: Any, figures: Any, gradient: Any, combine: Any
) -> None:
    (ce, kl, tokens, places), leaves = reference(folder, adapter, pieces, term)
    loss = combine(ce / tokens, kl / places)
    assert figures["loss"] == pytest.approx(loss.item(), abs=1e-6)
    grads = torch.autograd.grad(loss, [half for pair in leaves.values() for half in pair])
    named = iter(grads)
    for name in leaves:
        for view in adapter.matrices[name]:
            mine = gradient[view.storage_offset() : view.storage_offset() + view.numel()].view(view.shape)
            torch.testing.assert_close(mine, next(named), atol=1e-6, rtol=1e-6)


def test_runs_that_see_the_same_example_share_the_reference(
    setting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base, _, _, dataset, pieces = setting
    states = HiddenStateCache(base)
    first = states.of(dataset, pieces[0], None)
    monkeypatch.setattr(base, "hidden", None)
    again = states.of(dataset, pieces[0], None)
    assert torch.equal(first[1], again[1])
