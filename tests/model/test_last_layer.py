"""The last layer works on the rows that a loss reads, and gives them what it gave before."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from helpers import CPU, MakeBase, plain_model, random_sequences
from paceline.model.base import Base
from paceline.model.batch import MIN_TOKENS, pack_sequences, use_batch
from paceline.model.last_layer import last_layer_forwards
from paceline.model.segment import Segment

LENGTHS = (50, 70)


@pytest.fixture
def seen(loaded_base: Base) -> Any:
    """Rows that the inner linears of each layer's MLP were given."""
    rows: list[int] = []

    def watch(module: Any, inputs: Any, output: Tensor) -> None:
        rows.append(output.shape[1])

    handles = [layer.mlp.act_fn.register_forward_hook(watch) for layer in loaded_base.model.model.layers]
    yield rows
    for handle in handles:
        handle.remove()


@torch.no_grad()
@pytest.mark.parametrize("supervised", [0.0, 0.1, 0.6, 1.0])
def test_rows_that_a_loss_reads_are_those_of_the_whole_model(
    supervised: float, tiny_base: MakeBase, loaded_base: Base, seen: list[int]
) -> None:
    sequences = random_sequences(LENGTHS, supervised)
    batch = pack_sequences(sequences, [Segment(0, sum(LENGTHS), None)], CPU)
    with use_batch(batch):
        hidden = loaded_base.hidden(batch)
    plain = plain_model(tiny_base()).model
    expected = torch.cat([plain(ids[None]).last_hidden_state[0] for ids, _ in sequences])
    read = batch.labels[0] >= 0
    torch.testing.assert_close(hidden[read], expected[read], atol=1e-5, rtol=1e-5)
    assert seen == [sum(LENGTHS), max(MIN_TOKENS, int(read.sum()))]


def test_a_model_whose_layers_have_other_names_is_left_alone() -> None:
    config = GPT2Config(vocab_size=50, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    assert list(last_layer_forwards(GPT2LMHeadModel(config))) == []
