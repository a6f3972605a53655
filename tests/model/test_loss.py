"""Losses in chunks against torch's, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers import CPU
from paceline.model.batch import PackedBatch, pack_sequences
from paceline.model.loss import SoftTarget, chunk_rows, segment_losses
from paceline.model.segment import Segment


def labelled(labels: Tensor, segment: Segment) -> PackedBatch:
    return pack_sequences([(labels.clamp(min=0), labels)], [segment], CPU)


def test_losses_equal_torchs_cross_entropy_over_chunk_borders() -> None:
    generator = torch.Generator().manual_seed(1)
    hidden, weight = torch.randn(3000, 16, generator=generator), torch.randn(50, 16, generator=generator)
    labels = torch.randint(0, 50, (3000,), generator=generator)
    labels[torch.rand(3000, generator=generator) < 0.3] = -100
    piece = Segment(100, 2900, None)
    leaf = hidden.clone().requires_grad_()
    expected = F.cross_entropy(
        leaf[100:2900] @ weight.t(), labels[100:2900], reduction="none", ignore_index=-100
    )
    (expected.sum() * 0.25).backward()
    gradient = torch.zeros_like(hidden)
    ours = segment_losses(hidden, weight, labelled(labels, piece), piece, gradient, 0.25)
    wanted = labels[100:2900] >= 0
    assert len(ours.loss) > chunk_rows(50, CPU), "more than one chunk"
    torch.testing.assert_close(ours.loss, expected[wanted].detach())
    torch.testing.assert_close(gradient, leaf.grad)
    best = (hidden[100:2900] @ weight.t()).argmax(1)
    assert torch.equal(ours.correct, (best == labels[100:2900])[wanted])
    assert torch.equal(ours.positions, wanted.nonzero()[:, 0] + 100)


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("padding", [-2, 0, 3])
def test_divergences_equal_torchs_over_chunk_borders(forward: bool, temperature: float, padding: int) -> None:
    """The other model's head has a few rows less or more than ours, which are padding."""
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    hidden, weight, head = draw(2000, 8), draw(40, 8), draw(40 + padding, 6)
    labels = torch.randint(0, 40, (2000,), generator=generator)
    labels[::3] = -100
    piece, marked = Segment(0, 2000, None), (labels >= 0).nonzero()[:, 0]
    positions = torch.arange(5, len(marked), 2)  # every other supervised position
    assert len(marked) > chunk_rows(40, CPU), "more than one chunk"
    soft = SoftTarget(
        name="kl",
        positions=positions,
        hidden=draw(len(positions), 6),
        head=head,
        weight=0.3,
        forward=forward,
        temperature=temperature,
    )
    leaf, size = hidden.clone().requires_grad_(), min(40, 40 + padding)
    logits = leaf @ weight.t()
    ours = F.log_softmax(logits[marked[positions], :size] / temperature, -1)
    theirs = F.log_softmax((soft.hidden @ head.t())[:, :size] / temperature, -1)
    first, second = (ours, theirs) if forward else (theirs, ours)  # kl_div(p, q) is KL(q ‖ p)
    divergence = F.kl_div(first, second, reduction="none", log_target=True).sum(-1)
    entropy = F.cross_entropy(logits, labels, reduction="sum", ignore_index=-100)
    (0.7 * entropy + 0.3 * temperature**2 * divergence.sum()).backward()

    gradient = torch.zeros_like(hidden)
    found = segment_losses(hidden, weight, labelled(labels, piece), piece, gradient, 0.7, [soft])
    torch.testing.assert_close(found.divergences["kl"], divergence.detach())
    torch.testing.assert_close(gradient, leaf.grad)


def test_two_soft_targets_add_up() -> None:
    generator = torch.Generator().manual_seed(3)
    hidden, weight = torch.randn(64, 8, generator=generator), torch.randn(30, 8, generator=generator)
    labels, piece = torch.randint(0, 30, (64,), generator=generator), Segment(0, 64, None)
    everywhere = torch.arange(64)
    targets = [
        SoftTarget(name=name, positions=everywhere, hidden=hidden.flip(0), head=weight, weight=w, forward=f)
        for name, w, f in (("one", 0.5, True), ("two", 0.2, False))
    ]
    batch = labelled(labels, piece)
    gradients = []
    for soft in ([], targets[:1], targets[1:], targets):
        gradients.append(torch.zeros_like(hidden))
        found = segment_losses(hidden, weight, batch, piece, gradients[-1], 1.0, soft)
        assert set(found.divergences) == {target.name for target in soft}
    plain, first, second, both = gradients
    torch.testing.assert_close(both, first + second - plain)


def test_a_segment_with_nothing_supervised_has_no_losses() -> None:
    labels, piece = torch.full((40,), -100), Segment(0, 40, None)
    gradient = torch.zeros(40, 4)
    found = segment_losses(torch.ones(40, 4), torch.ones(9, 4), labelled(labels, piece), piece, gradient)
    assert found.loss.shape == found.correct.shape == found.positions.shape == (0,)
    assert not gradient.any()


def test_a_chunk_is_smaller_where_the_vocabulary_is_larger_and_never_tiny() -> None:
    sizes = [chunk_rows(vocabulary, CPU) for vocabulary in (100, 10_000, 151_936, 10**7)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 1024
    assert sizes[-1] == 64


def test_of_equally_likely_tokens_the_first_counts() -> None:
    """In every place of a vector and beyond one: tokens 3, 40 and 70 have the same logit, the largest."""
    weight = torch.zeros(100, 4)
    weight[[3, 40, 70]] = 1.0
    labels, piece = torch.tensor([3, 40, 70, 5] * 16), Segment(0, 64, None)
    found = segment_losses(torch.ones(64, 4), weight, labelled(labels, piece), piece)
    assert found.correct.tolist() == [True, False, False, False] * 16


@pytest.mark.parametrize(("sure", "bound"), [(0.997, 0.01), (0.5, 0.005), (0.05, 0.005)])
def test_bfloat16_loses_little_in_loss_and_gradient(sure: float, bound: float) -> None:
    """Against float64 from the same bf16 numbers: at p(label) = 0.997 nearly all of the sum cancels."""
    draw = torch.Generator().manual_seed(4)
    hidden = torch.randn(64, 256, generator=draw).bfloat16()
    weight = (torch.randn(2000, 256, generator=draw) * 0.05).bfloat16()
    labels = torch.randint(0, 2000, (64,), generator=draw)
    exact = weight.double()
    for _ in range(4):  # hidden states move along the label's row until it is as likely as wanted
        likely = (hidden.double() @ exact.t()).softmax(1).gather(1, labels[:, None])[:, 0]
        gap = torch.logit(torch.full_like(likely, sure)) - torch.logit(likely)
        moved = hidden.double() + (gap / exact[labels].square().sum(1))[:, None] * exact[labels]
        hidden = moved.bfloat16()
    leaf = hidden.double().requires_grad_()
    expected = F.cross_entropy(leaf @ exact.t(), labels, reduction="none")
    expected.sum().backward()
    assert leaf.grad is not None
    assert (expected.detach().neg().exp().median() - sure).abs() < 0.002

    piece, gradient = Segment(0, 64, None), torch.zeros_like(hidden)
    found = segment_losses(hidden, weight, labelled(labels, piece), piece, gradient)
    torch.testing.assert_close(found.loss.double(), expected.detach(), atol=2e-4, rtol=2e-4)
    error = (gradient.double() - leaf.grad).norm(dim=1) / leaf.grad.norm(dim=1)
    assert error.median() < bound
