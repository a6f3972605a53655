"""An adapter merged into its base's weights, checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from paceline.config.base_names import base_path
from paceline.config.recipe import Recipe
from paceline.data.chat import Chat, load_chat, token_ids
from paceline.data.templates import kept_template
from paceline.errors import ConfigError, ModelError
from paceline.evaluate.adapters import adapter_folder, adapter_recipes, encode_prompt, refuse_other_base
from paceline.evaluate.mtbench.questions import load_questions
from paceline.model.adapter import Adapter
from paceline.model.ends import find_ends, has_tied_ends
from paceline.model.lora_weights import LinearGroup
from paceline.model.new_tokens import add_token_rows
from paceline.model.targets import find_targets
from paceline.model.token_rows import find_token_rows
from paceline.model.weight_files import fetch_weights
from paceline.runs.files import whole_folder

# Largest difference of a logit, as a share of the largest logit: W + BA is rounded once more to the type,
# and so is every layer's output.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """How well a merged model agrees with base and adapter.

    `error` is the largest difference of a logit on the prompts, as a share of the largest logit.
    """

    error: float
    tolerance: float
    prompts: int
    dtype: str


def merge(run: Path, out: Path, dtype: str = "bfloat16") -> MergeResult:
    """Writes base and adapter as one model in `dtype`; a quantized base is loaded again unquantized.

    Raises:
        ConfigError: an unknown type.
        ModelError: `out` is there already; the base cannot be loaded; the merged logits are not those of
        base and
            adapter. Nothing is written then.
    """
    if dtype not in TOLERANCE:
        raise ConfigError(f"no type {dtype!r}; there are {', '.join(TOLERANCE)}")
    if out.exists():
        raise ModelError(f"{out} exists; choose another folder or delete it")
    recipes = adapter_recipes([run])
    recipe = next(iter(recipes.values()))
    template = kept_template(adapter_folder(run), recipe.data.chat_template)
    chat = load_chat(recipe.base, template, recipe.new_tokens)
    new_ids = token_ids(chat.tokenizer, recipe.new_tokens)
    prompts = _prompts(chat)
    plain = _load_base(recipe.base, dtype)
    add_token_rows(plain, new_ids)
    _check_adapter(plain, recipe, adapter_folder(run), new_ids)
    model = PeftModel.from_pretrained(plain, str(adapter_folder(run)), torch_device="cpu").eval()
    refuse_other_base(recipes, chat)
    expected = [_logits(model, ids) for ids in prompts]
    merged = model.merge_and_unload()
    error = max(
        _difference(_logits(merged, ids), logits) for ids, logits in zip(prompts, expected, strict=True)
    )
    if not error <= TOLERANCE[dtype]:  # not a number is no agreement either
        raise ModelError(
            f"{run}: merged in {dtype}, a logit is off by {error:.2g} of the largest "
            f"(tolerance {TOLERANCE[dtype]:g}); try --dtype float32"
        )
    with whole_folder(out) as scratch:
        merged.save_pretrained(str(scratch))
        chat.tokenizer.save_pretrained(str(scratch))
    return MergeResult(error=error, tolerance=TOLERANCE[dtype], prompts=len(prompts), dtype=dtype)


def _load_base(name: str, dtype: str) -> PreTrainedModel:
    folder = fetch_weights(base_path(name))
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"base {name!r} cannot be loaded: {reason}") from error
    return model.eval()


def _check_adapter(model: PreTrainedModel, recipe: Recipe, folder: Path, new_ids: list[int]) -> None:
    """Refuses an adapter that does not fit: PEFT itself leaves out tensors in silence."""
    head = model.get_output_embeddings()
    linears = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear) and m is not head]
    groups = [LinearGroup(index, (name,), (linear,)) for index, (name, linear) in enumerate(linears)]
    ends = find_ends(model)
    names = [name for group in ends for name in group.names]
    targets = find_targets(recipe, [name for name, _ in linears], recipe.base, names)
    tied = has_tied_ends(model)
    rows = find_token_rows(recipe, ends, tied, recipe.base, new_ids)
    copied = {group.names[0] for group in ends if rows.get(group.index, []) is None}
    if tied and (at_end := [name for name in names if name in targets or name in copied]):
        raise ModelError(
            f"{folder}: {recipe.base} has one weight for embeddings and output projection, and the adapter "
            f"changes {' and '.join(at_end)} each by itself: no merged weight says that; serve it unmerged"
        )
    Adapter(recipe, [*groups, *ends], targets, torch.device("cpu"), rows, tied).load(folder)


def _prompts(chat: Chat) -> list[list[int]]:
    """The first turns of the embedded questions, as token ids."""
    conversations = [[{"role": "user", "content": q.turns[0]}] for q in load_questions("embedded:en")]
    return [encode_prompt(chat, messages, thinking=True) for messages in conversations]


@torch.no_grad()
def _logits(model: nn.Module, ids: list[int]) -> Tensor:
    """Logits (tokens, vocabulary) of one prompt, in fp32."""
    return torch.as_tensor(model(torch.tensor([ids])).logits[0]).float()


def _difference(logits: Tensor, expected: Tensor) -> float:
    return float((logits - expected).abs().max() / expected.abs().max())
