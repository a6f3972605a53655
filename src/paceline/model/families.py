"""Models whose rows have bits of their own on a CPU, whatever stands beside them in a batch.

All that a layer of theirs does to a row is a product, a norm, attention in its own sequence, or an activation
that is a module (`activations`). Of others that is not known, and of some not so: an expert of a mixture
multiplies the few rows that chose it, and a gate that is a function is not ours to call. Widths count too: a
product's bits depend on whether its first row begins with a line of memory (64 bytes) or within one.
"""

from torch import nn
from transformers import PreTrainedModel

_LINE_BYTES = 64

# tests/model/test_families.py holds each of them to it.
_OWN_ROWS = frozenset(
    {
        "cohere",
        "cohere2",
        "gemma",
        "gemma3_text",
        "glm",
        "gpt_neox",
        "gptj",
        "granite",
        "llama",
        "mistral",
        "nemotron",
        "olmo2",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "smollm3",
        "stablelm",
        "starcoder2",
    }
)


def has_own_rows(model: PreTrainedModel) -> bool:
    """Whether a row's bits on a CPU depend on no other sequence's rows."""
    head = model.get_output_embeddings()  # of its output no run sees a slice
    linears = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
    widths = {width for linear in linears for width in (linear.in_features, linear.out_features)}
    whole = all(width * model.dtype.itemsize % _LINE_BYTES == 0 for width in widths)
    return whole and model.config.get_text_config().model_type in _OWN_ROWS
