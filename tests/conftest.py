"""Small models and data for the tests. Everything is made here or carried by the package: no test needs a network."""

import json
import os
import random
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # workers share the cores; with a thread a core each they would wait for one another
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", RAYON_NUM_THREADS="1")

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.data.chat import load_tokenizer

ARCHITECTURES = {"qwen3": Qwen3Config, "qwen2": Qwen2Config, "llama": LlamaConfig, "mistral": MistralConfig}


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """architecture -> folder of a two-layer model with random weights and the embedded tokenizer."""
    made: dict[str, str] = {}

    def make(architecture: str = "qwen3") -> str:
        if architecture not in made:
            tokenizer = load_tokenizer("embedded")
            extra = {"head_dim": 32} if architecture == "qwen3" else {}
            config = ARCHITECTURES[architecture](
                vocab_size=len(tokenizer), hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id, bos_token_id=None, **extra,
            )  # fmt: skip
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp(architecture)
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[architecture] = str(folder)
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def sums(tmp_path_factory: pytest.TempPathFactory) -> str:
    """240 prompt/completion rows of uneven length."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    with path.open("w") as file:
        for i in range(240):
            question = f"What is {i} plus {i + 1}?" + " Think." * rng.randint(0, 60)
            file.write(
                json.dumps({"prompt": question, "completion": f"It is {2 * i + 1}. " * rng.randint(1, 12)})
                + "\n"
            )
    return str(path)


@pytest.fixture
def recipe(tiny_base: Callable[[str], str], sums: str) -> Callable[..., Recipe]:
    """A recipe on the tiny base and the sums, with any fields changed."""

    def make(**fields: Any) -> Recipe:
        common = {
            "base": tiny_base("qwen3"),
            "data": sums,
            "max_length": 256,
            "lr": 1e-3,
            "logging_steps": 1,
            "max_steps": 8,
        }
        return make_recipe({**common, **fields}, "test")

    return make


@pytest.fixture
def study() -> Callable[..., Study]:
    """A study of named recipes."""
    return lambda **recipes: Study(
        name="test", runs=[Run(name=name, recipe=r) for name, r in recipes.items()]
    )
