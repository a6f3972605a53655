"""An adapter merged into its base's weights, checked before anything is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from paceline.data.chat import Chat, load_tokenizer
from paceline.errors import ModelError
from paceline.evaluate.adapters import adapter_folder, adapter_recipes, encode_prompt
from paceline.evaluate.mtbench.questions import load_questions
from paceline.model.base import base_path
from paceline.runs.files import whole_folder

# Largest difference of a logit, as a share of the largest logit: W + BA is rounded once more to the type, and so is every layer's output.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}


def merge(run: Path, out: Path, dtype: str = "bfloat16") -> dict[str, Any]:
    """Writes base and adapter as one model in `dtype`; a quantized base is loaded again unquantized.

    Returns:
        `error` (largest difference of a logit on a dozen prompts, as a share of the largest), `tolerance`, `prompts`, `dtype`.

    Raises:
        ModelError: `out` is there already; the merged logits are not those of base and adapter. Nothing is written then.
    """
    if out.exists():
        raise ModelError(f"{out} exists; choose another folder or delete it")
    recipe = next(iter(adapter_recipes([run]).values()))
    try:
        base = AutoModelForCausalLM.from_pretrained(base_path(recipe.base), dtype=getattr(torch, dtype))
    except (OSError, ValueError) as fault:
        raise ModelError(f"base {recipe.base!r} cannot be loaded: {str(fault).splitlines()[0]}") from fault
    chat = Chat(load_tokenizer(recipe.base))
    prompts = [
        encode_prompt(chat, [{"role": "user", "content": q.turns[0]}], True)
        for q in load_questions("embedded:en")
    ]
    model = PeftModel.from_pretrained(base.eval(), str(adapter_folder(run)), torch_device="cpu").eval()
    expected = [_logits(model, ids) for ids in prompts]
    merged = model.merge_and_unload()
    error = max(
        _difference(_logits(merged, ids), logits) for ids, logits in zip(prompts, expected, strict=True)
    )
    if not error <= TOLERANCE[dtype]:  # not a number is no agreement either
        raise ModelError(
            f"{run}: merged in {dtype}, a logit is off by {error:.2g} of the largest (tolerance {TOLERANCE[dtype]:g}); try --dtype float32"
        )
    with whole_folder(out) as scratch:
        merged.save_pretrained(str(scratch))
        chat.tokenizer.save_pretrained(str(scratch))
    return {"error": error, "tolerance": TOLERANCE[dtype], "prompts": len(prompts), "dtype": dtype}


@torch.no_grad()
def _logits(model: Any, ids: list[int]) -> torch.Tensor:
    return torch.as_tensor(model(torch.tensor([ids])).logits[0]).float()


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


def to_gguf(model: Path, out: Path) -> None:
    """Runs llama.cpp's converter, found on PATH or in the folder that LLAMA_CPP names.

    Raises:
        ModelError: no converter there, or it fails.
    """
    places = (
        [str(Path(os.environ["LLAMA_CPP"])), os.environ.get("PATH", "")]
        if "LLAMA_CPP" in os.environ
        else [os.environ.get("PATH", "")]
    )
    found = shutil.which("convert_hf_to_gguf.py", mode=os.F_OK, path=os.pathsep.join(places))
    if found is None:
        raise ModelError("no convert_hf_to_gguf.py on PATH; clone llama.cpp and set LLAMA_CPP to its folder")
    done = subprocess.run(
        [sys.executable, found, str(model), "--outfile", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ModelError(f"{found} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
