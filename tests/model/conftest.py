"""A tiny base whose ends are of each kind."""

from typing import Any

import pytest
from transformers import Gemma3TextConfig, Qwen3Config

from helpers import save_random_base
from paceline.data.chat import load_tokenizer

# A token that stands in rows of the tests: torch's embedding gives its row no gradient.
PADDING = 100


@pytest.fixture(scope="module", params=["untied", "tied", "gemma"])
def ends_base(request: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a base; Gemma's is tied and multiplies its embeddings."""
    tokenizer = load_tokenizer("embedded")
    make: Any = Gemma3TextConfig if request.param == "gemma" else Qwen3Config
    config = make(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=request.param != "untied",
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=PADDING,
        bos_token_id=None,
    )
    return save_random_base(config, tokenizer, tmp_path_factory.mktemp(request.param))
