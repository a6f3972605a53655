"""Attention inside each sequence of a packed batch, against attention sequence by sequence."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, MistralConfig

from helpers import CPU, packed_logits, plain_attention, random_sequences
from paceline.model.attention import packed_attention
from paceline.model.base import wrap_model
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.segment import Segment

LENGTHS = (1, 40, 9)


@pytest.mark.parametrize("window", [None, 8, 100])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_each_sequence_attends_to_its_own_past(
    window: int | None, kv_heads: int, scale: float | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, sum(LENGTHS), 16, generator=generator)
    key, value = (torch.randn(1, kv_heads, sum(LENGTHS), 16, generator=generator) for _ in range(2))
    batch = pack_sequences(random_sequences(LENGTHS), [Segment(0, sum(LENGTHS), None)], CPU)
    with use_batch(batch):
        ours, weights = packed_attention(nn.Module(), query, key, value, None, scale, window)
    assert weights is None
    parts = (whole[0].split(LENGTHS, 1) for whole in (query, key, value))
    expected = [plain_attention(q, k, v, scale or 16**-0.5, window) for q, k, v in zip(*parts, strict=True)]
    torch.testing.assert_close(ours[0], torch.cat(expected), atol=1e-6, rtol=1e-5)


def test_a_sliding_window_is_kept() -> None:
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
    (ours,) = packed_logits(wrap_model(plain, "mistral"), [ids])
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_without_a_batch_or_with_a_soft_cap_it_refuses() -> None:
    x = torch.zeros(1, 2, 40, 4)
    with pytest.raises(RuntimeError, match="needs a packed batch"):
        packed_attention(nn.Module(), x, x, x, None)
    batch = pack_sequences(random_sequences((40,)), [], CPU)
    with use_batch(batch), pytest.raises(RuntimeError, match="no soft cap"):
        packed_attention(nn.Module(), x, x, x, None, softcap=30.0)
