"""Merged models: the adapter's logits and words, or nothing at all."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from paceline.config.base_names import base_path
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.data.chat import Chat, load_tokenizer
from paceline.errors import PacelineError
from paceline.evaluate.adapters import encode_prompt
from paceline.export import merge as module
from paceline.export.gguf import to_gguf
from paceline.export.merge import TOLERANCE, merge
from paceline.training.study import train_study


def prompts(count: Any) -> Any:
    chat = Chat(load_tokenizer("embedded"))
    return [
        encode_prompt(chat, [{"role": "user", "content": f"Say {i} things about the number {i * 7}."}], True)
        for i in range(count)
    ]


def greedy(model: Any, ids: Any) -> Any:
    with torch.no_grad():
        return model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False, pad_token_id=0)[
            0
        ].tolist()


def test_in_fp32_it_says_the_same_on_fifty_prompts(studied: Any, tmp_path: Path) -> None:
    result = merge(studied / "a", tmp_path / "merged", "float32")
    assert result.error <= TOLERANCE["float32"]
    base = AutoModelForCausalLM.from_pretrained(base_path("embedded"), dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(studied / "a" / "adapter")).eval()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert merged.dtype == torch.float32
    for ids in prompts(50):
        assert greedy(merged, ids) == greedy(adapted, ids)
    assert load_tokenizer(str(tmp_path / "merged")).chat_template == load_tokenizer("embedded").chat_template


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_in_bf16_and_from_a_quantized_base_the_logits_are_the_adapters(tmp_path: Path, quantize: Any) -> None:
    fields = {
        "base": "embedded",
        "data": {"source": "embedded:rust", "n": 40},
        "lr": 2e-3,
        "max_steps": 2,
        "batch_size": 4,
        "grad_accum": 1,
        "quantize": quantize,
    }
    train_study(Study(name="s", runs=[Run(name="q", recipe=make_recipe(fields, "q"))]), tmp_path / "s")
    result = merge(tmp_path / "s" / "q", tmp_path / "merged", "bfloat16")
    assert 0 < result.error <= TOLERANCE["bfloat16"]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.bfloat16
    assert not any("quant" in key for key in json.loads((tmp_path / "merged" / "config.json").read_text()))
    whole = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base_path("embedded"), dtype=torch.float32),
        str(tmp_path / "s" / "q" / "adapter"),
    )
    for ids in prompts(3):
        with torch.no_grad():
            mine, theirs = (model(torch.tensor([ids])).logits.float() for model in (merged, whole))
        assert float((mine - theirs).abs().max() / theirs.abs().max()) < 0.1


def test_a_merge_that_differs_is_refused_and_leaves_nothing(
    studied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.TOLERANCE, "bfloat16", 1e-9)
    with pytest.raises(PacelineError, match=r"off by .* try --dtype float32"):
        merge(studied / "a", tmp_path / "merged")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with pytest.raises(PacelineError, match="exists"):
        merge(studied / "a", tmp_path / "there")


def test_an_unknown_type_is_refused(studied: Any, tmp_path: Path) -> None:
    with pytest.raises(PacelineError, match="no type 'int4'; there are float32, bfloat16, float16"):
        merge(studied / "a", tmp_path / "merged", "int4")


def test_gguf_needs_the_converter_and_calls_it(
    studied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    with pytest.raises(PacelineError, match="LLAMA_CPP"):
        to_gguf(tmp_path, tmp_path / "x.gguf")
    (tmp_path / "convert_hf_to_gguf.py").write_text("import sys\nopen(sys.argv[3], 'w').write(sys.argv[1])\n")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    to_gguf(studied, tmp_path / "x.gguf")
    assert (tmp_path / "x.gguf").read_text() == str(studied)
    (tmp_path / "convert_hf_to_gguf.py").write_text("raise SystemExit('no such architecture')\n")
    with pytest.raises(PacelineError, match="no such architecture"):
        to_gguf(studied, tmp_path / "y.gguf")
