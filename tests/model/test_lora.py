"""The engine's layers against plain autograd and plain transformers."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, MistralConfig

from paceline.errors import PacelineError
from paceline.model.base import load_base, wrap_model
from paceline.model.batch import Segment, pack_sequences, use_batch
from paceline.model.dropout import keep_mask
from paceline.model.loss import segment_losses

LENGTHS = (40, 57, 33)


def random_sequences(vocabulary=4000, supervised=0.5):
    generator = torch.Generator().manual_seed(0)
    found = []
    for length in LENGTHS:
        ids = torch.randint(5, vocabulary, (length + 1,), generator=generator)
        labels = ids[1:].clone()
        labels[: int(length * (1 - supervised))] = -100
        found.append((ids[:-1], labels))
    return found


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2", "llama", "mistral"])
def test_a_flat_batch_gives_the_logits_of_each_sequence_alone(architecture, tiny_base):
    plain = AutoModelForCausalLM.from_pretrained(tiny_base(architecture), dtype=torch.float32).eval()
    base = load_base(tiny_base(architecture))
    sequences = random_sequences(supervised=1.0)
    batch = pack_sequences(sequences, [Segment(0, sum(LENGTHS), None)], base.device)
    with torch.no_grad(), use_batch(batch):
        ours = (base.hidden(batch) @ base.head.t()).split(list(LENGTHS))
    for (ids, _), logits in zip(sequences, ours, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(logits, plain(ids[None]).logits[0], atol=1e-5, rtol=1e-5)


def test_a_sliding_window_is_kept():
    config = MistralConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
    )
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(0, 100, (40,))
    with torch.no_grad():
        expected = plain(ids[None]).logits[0]
    base = wrap_model(plain, "mistral")
    batch = pack_sequences([(ids, ids)], [Segment(0, 40, None)], base.device)
    with torch.no_grad(), use_batch(batch):
        torch.testing.assert_close(base.hidden(batch) @ base.head.t(), expected, atol=1e-5, rtol=1e-5)


def test_gradients_equal_plain_autograd_with_dropout_masks_and_two_runs(tiny_base, recipe):
    """Two runs in one batch: every adapter gradient equals autograd's through W + scaled, masked B A, per run."""
    base = load_base(tiny_base("qwen3"))
    recipes = [
        recipe(lora_r=4, lora_dropout=0.3),
        recipe(lora_r=8, lora_dropout=0.0, target_modules=["q_proj", "k_proj", "down_proj"]),
    ]
    adapters = [base.new_adapter(r) for r in recipes]
    for seed, adapter in enumerate(adapters):
        adapter.initialize(seed)
        for _, b in adapter.matrices.values():
            b.normal_(std=0.1, generator=torch.Generator().manual_seed(seed))
    sequences = random_sequences()
    borders = [(0, LENGTHS[0] + LENGTHS[1]), (LENGTHS[0] + LENGTHS[1], sum(LENGTHS))]
    slices = [
        Segment(start, stop, adapter, (7, i))
        for i, ((start, stop), adapter) in enumerate(zip(borders, adapters, strict=True))
    ]
    batch = pack_sequences(sequences, slices, base.device)
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        losses = [
            segment_losses(hidden.detach(), base.head, batch, part, gradient, 0.01).loss.sum()
            for part in slices
        ]
        hidden.backward(gradient)

    for i, (part, adapter) in enumerate(zip(slices, adapters, strict=True)):
        reference, leaves = reference_loss(
            tiny_base("qwen3"), base, adapter, part, sequences[:2] if i == 0 else sequences[2:], batch
        )
        assert reference.item() == pytest.approx(losses[i].item(), rel=1e-5)
        grads = torch.autograd.grad(reference * 0.01, [leaf for pair in leaves.values() for leaf in pair])
        named = iter(grads)
        for name in leaves:
            a_view, b_view = adapter.matrices[name]
            for view, expected in ((a_view, next(named)), (b_view, next(named))):
                ours = adapter.gradients[view.storage_offset() : view.storage_offset() + view.numel()].view(
                    view.shape
                )
                torch.testing.assert_close(ours, expected, atol=2e-6, rtol=2e-4)


def reference_loss(folder, base, adapter, part, sequences, batch):
    """The same loss by a plain transformers model whose linears are wrapped with readable LoRA; sequence by sequence."""
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    leaves = {
        name: tuple(m.clone().requires_grad_() for m in pair) for name, pair in adapter.matrices.items()
    }
    modules = dict(plain.named_modules())
    state = {"row": 0}
    last = {group.index for group in base.groups[-3:]}
    for group in base.groups:
        # the last layer's projection and MLP see kept rows only, so their masks are drawn for those
        rows = part.stop - part.start
        kept = batch.loss_rows.batch.segments[batch.segments.index(part)]
        count = kept.stop - kept.start if group.index in last else rows
        keep = keep_mask(
            (*part.dropout_key, group.index),
            count,
            group.linears[0].in_features,
            adapter.dropout,
            base.device,
        )
        if group.index in last:
            inside = batch.loss_rows.rows[kept.start : kept.stop] - part.start
            keep = torch.ones(rows, keep.shape[1], dtype=torch.bool).index_copy(0, inside, keep)
        for name in group.names:
            if name in leaves:
                wrap(modules[name], leaves[name], keep, adapter, state)
    total = torch.zeros(())
    for ids, labels in sequences:
        logits = plain(ids[None]).logits[0]
        total = total + F.cross_entropy(logits, labels, reduction="sum", ignore_index=-100)
        state["row"] += len(ids)
    return total, leaves


def wrap(linear, pair, keep, adapter, state):
    def forward(x):
        rows = keep[state["row"] : state["row"] + x.shape[1]]
        low = (x * rows / (1 - adapter.dropout)) @ pair[0].t() @ pair[1].t()
        return F.linear(x, linear.weight, linear.bias) + adapter.scale * low

    linear.forward = forward


def test_losses_equal_torchs_cross_entropy_over_chunk_borders():
    generator = torch.Generator().manual_seed(1)
    hidden, weight = torch.randn(3000, 16, generator=generator), torch.randn(50, 16, generator=generator)
    labels = torch.randint(0, 50, (3000,), generator=generator)
    labels[torch.rand(3000, generator=generator) < 0.3] = -100
    piece = Segment(100, 2900, None)
    batch = pack_sequences([(labels.clamp(min=0), labels)], [piece], torch.device("cpu"))
    leaf = hidden.clone().requires_grad_()
    expected = F.cross_entropy(
        leaf[100:2900] @ weight.t(), labels[100:2900], reduction="none", ignore_index=-100
    )
    (expected.sum() * 0.25).backward()
    gradient = torch.zeros_like(hidden)
    ours = segment_losses(hidden, weight, batch, piece, gradient, 0.25)
    wanted = labels[100:2900] >= 0
    torch.testing.assert_close(ours.loss, expected[wanted].detach())
    torch.testing.assert_close(gradient, leaf.grad)
    best = (hidden[100:2900] @ weight.t()).argmax(1)
    assert torch.equal(ours.correct, (best == labels[100:2900])[wanted])


def test_dropout_masks_depend_on_their_key_alone_and_drop_the_right_share():
    first = keep_mask((1, 2, 3), 500, 301, 0.05, torch.device("cpu"))
    torch.rand(10)
    assert torch.equal(first, keep_mask((1, 2, 3), 500, 301, 0.05, torch.device("cpu")))
    assert not torch.equal(first, keep_mask((1, 2, 4), 500, 301, 0.05, torch.device("cpu")))
    assert 1 - first.float().mean() == pytest.approx(0.05, abs=0.003)


def test_an_unknown_target_lists_what_exists(tiny_base):
    base = load_base(tiny_base("qwen3"))
    with pytest.raises(
        PacelineError,
        match=r"no linear 'query_proj' in .*; there are down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj",
    ):
        base.targets(["query_proj"])
    with pytest.raises(PacelineError, match=r"the expression 'nothing' matches no linear"):
        base.targets("nothing")
