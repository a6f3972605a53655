"""What several tests of training share: a small prepared recipe, and a base of wider layers."""

import pytest
from transformers import Qwen3Config

from helpers import MakeBase, save_random_base
from paceline.config.load import make_recipe
from paceline.data.chat import load_tokenizer
from paceline.training.prepare import Prepared, Preparer


@pytest.fixture(scope="session")
def prepared(tiny_base: MakeBase, sums: str) -> Prepared:
    """60 of the sums, eight examples a step, no dropout."""
    fields = {
        "base": tiny_base(),
        "data": {"source": sums, "n": 60, "eval_ratio": 0.25},
        "max_length": 128,
        "lora_r": 4,
        "lora_dropout": 0.0,
        "batch_size": 4,
        "grad_accum": 2,
    }
    return Preparer().prepare(make_recipe(fields, "test"))


@pytest.fixture(scope="session")
def wide_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layer whose sums are so long that a CPU's bf16 products cut them by how many rows there are."""
    tokenizer = load_tokenizer("embedded")
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return save_random_base(config, tokenizer, tmp_path_factory.mktemp("wide"))
