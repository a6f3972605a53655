"""The training step: sums over micro-batches are one big batch's, and clipping is torch's."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers import plain_model, random_adapter
from paceline.model.base import Base
from paceline.training.distributed import SINGLE_PROCESS
from paceline.training.micro_batches import MicroBatch, make_micro_batches
from paceline.training.objective import Objective
from paceline.training.optimizer import make_optimizer
from paceline.training.prepare import Prepared
from paceline.training.step import StepItem, StepStats, clip_and_step, forward_backward, reduce_gradients


@pytest.fixture
def micro_batches(prepared: Prepared) -> list[MicroBatch]:
    """One effective batch in four."""
    train = prepared.split.train[:8]
    return [
        one for i in range(0, 8, 2) for one in make_micro_batches(prepared.dataset, train[i : i + 2], 128)
    ]


def test_the_sums_over_micro_batches_are_one_big_batchs(
    prepared: Prepared, loaded_base: Base, micro_batches: list[MicroBatch]
) -> None:
    """Against autograd through a whole model whose weights are W + s B A, all sequences in one mean."""
    adapter = random_adapter(loaded_base, prepared.recipe)
    loss = Objective(prepared.recipe, prepared.dataset).begin(0, micro_batches)
    for one in micro_batches:
        forward_backward(loaded_base, [StepItem(micro_batch=one, adapter=adapter, loss=loss)])
    model = plain_model(prepared.recipe.base)
    leaves = {name: [m.clone().requires_grad_() for m in pair] for name, pair in adapter.matrices.items()}
    merged = {
        f"{name}.weight": model.get_submodule(name).weight + adapter.scales[name] * b @ a
        for name, (a, b) in leaves.items()
    }
    sequences = [sequence for one in micro_batches for sequence in one.sequences]
    logits = [
        torch.func.functional_call(model, merged, (sequence.inputs[None],)).logits[0]
        for sequence in sequences
    ]
    labels = torch.cat([sequence.labels for sequence in sequences])
    expected = F.cross_entropy(torch.cat(logits), labels, ignore_index=-100)
    expected.backward()
    loss.take(loss.counted(loaded_base.device).tolist())
    assert loss.value == pytest.approx(expected.item(), rel=1e-6)
    guessed = torch.cat(logits).argmax(-1)
    assert loss.correct == int((guessed == labels)[labels >= 0].sum())
    for name, pair in leaves.items():
        for ours, leaf in zip(adapter.gradient_of(name), pair, strict=True):
            torch.testing.assert_close(ours, leaf.grad, atol=1e-6, rtol=1e-4)


def test_how_many_micro_batches_share_a_forward_changes_no_bit(
    prepared: Prepared, loaded_base: Base, micro_batches: list[MicroBatch]
) -> None:
    gradients, losses = [], []
    for size in (1, 2, 4):
        adapter = random_adapter(loaded_base, prepared.recipe)
        loss = Objective(prepared.recipe, prepared.dataset).begin(0, micro_batches)
        items = [
            StepItem(micro_batch=one, adapter=adapter, loss=loss, dropout_key=(0, 0, number, 2))
            for number, one in enumerate(micro_batches)
        ]
        for start in range(0, 4, size):
            forward_backward(loaded_base, items[start : start + size])
        gradients.append(adapter.gradients)
        loss.take(loss.counted(loaded_base.device).tolist())
        losses.append(loss.value)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])
    assert len(set(losses)) == 1


def test_a_micro_batch_without_weight_adds_nothing(
    prepared: Prepared, loaded_base: Base, micro_batches: list[MicroBatch]
) -> None:
    adapter = random_adapter(loaded_base, prepared.recipe)
    forward_backward(loaded_base, [StepItem(micro_batch=micro_batches[0], adapter=adapter, loss=None)])
    assert not adapter.gradients.any()


@pytest.mark.parametrize("limit", [0.0, 0.05, 1.0, 1e9])
def test_clipping_is_torchs(limit: float, prepared: Prepared, loaded_base: Base) -> None:
    adapters = [random_adapter(loaded_base, prepared.recipe) for _ in range(2)]
    for adapter in adapters:
        adapter.gradients.normal_(std=0.01, generator=torch.Generator().manual_seed(1))
    ours, theirs = adapters
    parameter = torch.nn.Parameter(theirs.parameters)
    parameter.grad = theirs.gradients
    expected = float(torch.nn.utils.clip_grad_norm_(parameter, limit or math.inf))
    loss = Objective(prepared.recipe, prepared.dataset).begin(0, [])
    *_, norm = reduce_gradients(ours, loss, SINGLE_PROCESS).tolist()
    assert norm == pytest.approx(expected, rel=1e-6)
    optimizer = torch.optim.SGD([torch.nn.Parameter(ours.parameters)], lr=0.0)
    clip_and_step(ours, optimizer, 0.0, norm, limit)
    torch.testing.assert_close(ours.gradients, theirs.gradients, atol=0, rtol=1e-6)


def test_a_step_is_taken_at_its_own_rate(prepared: Prepared, loaded_base: Base) -> None:
    adapter = random_adapter(loaded_base, prepared.recipe)
    before = adapter.parameters.clone()
    adapter.gradients.fill_(1.0)
    clip_and_step(adapter, make_optimizer(prepared.recipe, adapter), 0.25, 1.0, 0.0)
    torch.testing.assert_close(before - adapter.parameters, torch.full_like(before, 0.25))


@pytest.mark.parametrize(
    ("loss", "norm", "finite"), [(1.0, 2.0, True), (math.nan, 1.0, False), (1.0, math.inf, False)]
)
def test_a_step_is_finite_if_its_loss_and_norm_are(loss: float, norm: float, finite: bool) -> None:
    stats = StepStats(step=1, loss=loss, grad_norm=norm, lr=1.0, tokens=1, supervised=1, correct=0)
    assert stats.finite == finite
