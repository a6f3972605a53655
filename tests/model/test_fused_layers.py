"""Which layers a GPU computes by fused kernels; what these compute is tested elsewhere."""

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from paceline.model.fused_layers import layer_forwards

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.mark.parametrize(
    ("family", "kinds"),
    [
        ("llama", {"LlamaAttention", "LlamaMLP"}),
        ("qwen3", {"Qwen3Attention", "Qwen3MLP"}),
        ("mistral", {"MistralAttention", "MistralMLP"}),
        ("phi3", set()),  # rotates a part of each head, and has gate and up in one linear
    ],
)
def test_layers_written_as_llamas_are_found(family: str, kinds: set[str]) -> None:
    settings = SMALL | HEADS | ({"pad_token_id": 0} if family == "phi3" else {})
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))
    found = [type(module).__name__ for module, _ in layer_forwards(model)]
    assert set(found) == kinds
    assert len(found) == 2 * len(kinds)


def test_a_layer_that_has_another_forward_keeps_it() -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SMALL, **HEADS))
    hooked = model.model.layers[0].mlp
    hooked.forward = lambda x: x
    assert hooked not in [module for module, _ in layer_forwards(model)]
