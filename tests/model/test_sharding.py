"""What cannot be spread over processes is refused; that a spread base trains is in train/test_distributed."""

import pytest
from transformers import GPTJConfig, GPTJForCausalLM

from helpers import MakeBase
from paceline.errors import ModelError
from paceline.model.base import load_base, wrap_model
from paceline.model.quantization import BaseFormat
from paceline.model.sharding import shard


def test_a_model_without_a_list_of_layers_is_refused() -> None:
    config = GPTJConfig(vocab_size=50, n_positions=64, n_embd=16, n_layer=1, n_head=2, rotary_dim=4)
    base = wrap_model(GPTJForCausalLM(config), "gptj")
    with pytest.raises(ModelError, match="base 'gptj': no list of layers to spread"):
        shard(base, 2)


def test_a_quantized_base_is_refused(tiny_base: MakeBase) -> None:
    base = load_base(tiny_base(), base_format=BaseFormat("nf4"))
    with pytest.raises(ModelError, match="is quantized; --shard-base spreads unquantized bases only"):
        shard(base, 2)
