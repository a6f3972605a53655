"""Model families: right against transformers and PEFT to 1e-6, or refused in one line; docs/models.md."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from helpers import MakeRecipe, gradient_of, random_adapter, random_sequences
from paceline.errors import ModelError
from paceline.model import families
from paceline.model.base import Base, wrap_model
from paceline.model.batch import pack_sequences, use_batch
from paceline.model.loss import segment_losses
from paceline.model.segment import Segment

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
_LLAMA = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT = {"vocab_size": 200, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_WINDOWS = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

# What trains as transformers and PEFT do: (settings of the configuration, targets).
WORKS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "llama": ({**_LLAMA, "attention_bias": True}, ["q_proj", "down_proj"]),
    "qwen2": (_LLAMA, ["q_proj", "down_proj"]),
    "qwen3": (_LLAMA, ["q_proj", "down_proj"]),
    "mistral": ({**_LLAMA, "sliding_window": 16}, ["q_proj", "down_proj"]),
    "mixtral": ({**_LLAMA, **_EXPERTS}, ["q_proj", "o_proj"]),
    "gemma": (_LLAMA, ["q_proj", "down_proj"]),
    "gemma3_text": ({**_LLAMA, **_WINDOWS}, ["q_proj", "down_proj"]),
    "smollm3": (_LLAMA, ["q_proj", "down_proj"]),
    "olmo2": (_LLAMA, ["q_proj", "down_proj"]),
    "phi": (_LLAMA, ["q_proj", "fc2"]),
    "phi3": (_LLAMA, ["qkv_proj", "down_proj"]),
    "granite": (
        {**_LLAMA, "logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22},
        ["q_proj", "down_proj"],
    ),
    "cohere": ({**_LLAMA, "logit_scale": 0.0625}, ["q_proj", "down_proj"]),
    "cohere2": ({**_LLAMA, **_WINDOWS, "logit_scale": 0.25}, ["q_proj", "down_proj"]),
    "gpt_neox": (_LLAMA, ["query_key_value", "dense_4h_to_h"]),
    "gptj": ({**_GPT, "rotary_dim": 4}, ["q_proj", "fc_out"]),
    "starcoder2": (_LLAMA, ["q_proj", "c_proj"]),
    "stablelm": (_LLAMA, ["q_proj", "down_proj"]),
    "nemotron": (_LLAMA, ["q_proj", "down_proj"]),
    "glm": (_LLAMA, ["q_proj", "down_proj"]),
}
# What is refused: (settings of the configuration, what the refusal says).
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "gpt2": (_GPT, "Conv1D"),
    "gemma2": (_LLAMA, "caps its logits"),
    "bloom": ({"vocab_size": 200, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "mixes neighbouring"),
    "mpt": ({"vocab_size": 200, "d_model": 32, "n_layers": 2, "n_heads": 4}, "mixes neighbouring"),
    "lfm2": ({**_LLAMA, "layer_types": ["conv", "full_attention"]}, "mixes neighbouring"),
    "qwen3_next": ({**_LLAMA, **_DELTA, "num_experts": 4, "num_experts_per_tok": 2}, "mixes neighbouring"),
    "qwen3_5_text": ({**_LLAMA, **_DELTA}, "mixes neighbouring"),
    "gpt_oss": ({**_LLAMA, **_EXPERTS, **_WINDOWS}, "does not run in a packed batch"),
    "mamba": (
        {"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
        "not supported",
    ),
}


SIZE = {"hidden_size": 64, "intermediate_size": 160, "head_dim": 16, "max_position_embeddings": 512}
SIZES = {"gptj": {"n_embd": 64, "n_inner": 160, "n_positions": 512}}


def _model(family: str, settings: dict[str, Any]) -> Any:
    """A small model of random weights, large enough that no part of it is lost in rounding."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 or name.endswith("bias"):
                parameter.normal_(0, 0.15)
    return model


def _sequences() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    rows = [torch.randint(3, 200, (length + 1,), generator=draw) for length in (41, 37)]
    return [(ids[:-1], torch.cat([torch.full((9,), -100), ids[10:]])) for ids in rows]


def _ours(base: Base, recipe: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """The summed loss, the gradients of the adapter's matrices, and after `=` the matrices."""
    adapter = random_adapter(base, recipe)
    sequences = _sequences()
    total = sum(len(ids) for ids, _ in sequences)
    batch = pack_sequences(sequences, [Segment(0, total, adapter)], base.device)
    with use_batch(batch):
        hidden = base.hidden(batch)
        gradient = torch.zeros_like(hidden)
        losses = segment_losses(hidden.detach(), base.head, batch, batch.segments[0], gradient)
        hidden.backward(gradient)
    gradients = {}
    for name, pair in adapter.matrices.items():
        for half, matrix, grad in zip("AB", pair, adapter.gradient_of(name), strict=True):
            gradients[f"{name}.lora_{half}"], gradients[f"={name}.lora_{half}"] = grad, matrix
    return losses.loss.sum(), gradients


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("ends", [False, True], ids=["layers", "ends"])
@pytest.mark.parametrize("family", WORKS)
def test_a_family_trains_as_transformers_and_peft_do(family: str, ends: bool, recipe: MakeRecipe) -> None:
    """`ends`: embeddings and output projection are targets too."""
    settings, targets = WORKS[family]
    wrapped = wrap_model(_model(family, settings), family)
    if ends:
        targets = targets + [name.rsplit(".", 1)[-1] for group in wrapped.ends for name in group.names]
        assert len(wrapped.ends) == 2
    loss, ours = _ours(wrapped, recipe(lora_r=4, lora_dropout=0.0, target_modules=targets))
    config = LoraConfig(r=4, lora_alpha=recipe(lora_r=4).lora_alpha, target_modules=targets)
    peft = get_peft_model(_model(family, settings), config).eval()
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(ours["=" + _short(name)])
    total = torch.zeros(())
    for ids, labels in _sequences():
        total = total + cross_entropy(peft(input_ids=ids[None]).logits[0], labels, reduction="sum")
    total.backward()
    torch.testing.assert_close(loss, total.detach(), rtol=1e-6, atol=0)
    trained = {_short(name): p.grad for name, p in peft.named_parameters() if p.requires_grad}
    assert trained
    assert set(trained) == {name for name in ours if name[0] != "="}
    for name, gradient in trained.items():
        assert gradient is not None
        assert float((ours[name] - gradient).norm() / gradient.norm()) < 5e-6, name


def test_families_whose_rows_are_their_own_are_those_that_work_and_have_no_experts() -> None:
    assert set(WORKS) - {"mixtral"} == families._OWN_ROWS


@pytest.mark.parametrize(
    ("width", "dtype", "own"), [(160, "float32", True), (158, "float32", False), (176, "bfloat16", False)]
)
def test_rows_that_begin_within_a_line_of_memory_are_not_their_own(width: int, dtype: str, own: bool) -> None:
    settings = {**WORKS["llama"][0], **SIZE, "intermediate_size": width}
    model = _model("llama", settings).to(getattr(torch, dtype))
    assert wrap_model(model, "llama").runs_share_forwards is own


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.usefixtures("own_threads")
@pytest.mark.parametrize("family", sorted(families._OWN_ROWS))
def test_a_row_has_the_bits_that_it_has_alone(family: str, recipe: MakeRecipe) -> None:
    """Between two others, of few rows too, with elements left over at each thread's end."""
    settings, targets = WORKS[family]
    base = wrap_model(_model(family, {**settings, **SIZES.get(family, SIZE)}), family)
    adapters = [random_adapter(base, recipe(lora_r=4, target_modules=targets), seed) for seed in (0, 1)]
    tested, other = adapters
    for threads, length, before, after in (
        (1, 90, 37, 120),
        (1, 5, 61, 3),
        (2, 301, 19, 433),
        (3, 75, 301, 222),
    ):
        torch.set_num_threads(threads)
        left, own, right = random_sequences((before, length, after), 0.67, vocabulary=200)
        alone = gradient_of(tested, base, [(own, tested)])
        beside = gradient_of(tested, base, [(left, other), (own, tested), (right, other)])
        assert torch.equal(alone, beside), (threads, length, before, after)


def _short(name: str) -> str:
    short = name.removeprefix("base_model.model.").removesuffix(".weight").removesuffix(".default")
    return short.replace("lora_embedding_", "lora_")


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_that_would_be_wrong_is_refused_in_one_line(family: str) -> None:
    settings, reason = REFUSED[family]
    with pytest.raises(ModelError, match=reason) as refusal:
        wrap_model(_model(family, settings), family)
    assert "\n" not in str(refusal.value)
    assert family in str(refusal.value)


def test_the_table_in_the_docs_is_this_one() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (works|refused)\b", DOCS.read_text(encoding="utf-8"), re.M))
    assert rows == dict.fromkeys(WORKS, "works") | dict.fromkeys(REFUSED, "refused")
