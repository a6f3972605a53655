"""Small models and data for the tests.

Everything is made here or carried by the package: no test needs a network.
"""

import json
import os
import random
from collections.abc import Iterator
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
from transformers import LlamaConfig, MistralConfig, MixtralConfig, Qwen2Config, Qwen3Config

from helpers import MakeBase, MakeRecipe, MakeStudy, save_random_base
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.data.chat import load_tokenizer
from paceline.model.base import Base, load_base

ARCHITECTURES = {
    "qwen3": Qwen3Config,
    "qwen2": Qwen2Config,
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "mixtral": MixtralConfig,
}
NOT_FAST = ("slow", "sandbox", "browser", "gpu")
# What a test has that asks for one of these fixtures: a browser, or a study that was trained and evaluated.
MARKS_OF_FIXTURES = {"browser": "browser", "studied": "slow"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What nobody has marked as slow, or as in need of something from outside, is fast."""
    for item in items:
        for fixture in set(MARKS_OF_FIXTURES) & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKS_OF_FIXTURES[fixture])
        if not any(item.get_closest_marker(name) for name in NOT_FAST):
            item.add_marker(pytest.mark.fast)


@pytest.fixture
def own_threads() -> Iterator[None]:
    """Gives torch back as many threads as it had before the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> MakeBase:
    """architecture -> folder of a two-layer model with random weights and the embedded tokenizer."""
    made: dict[str, str] = {}

    def make(architecture: str = "qwen3") -> str:
        if architecture not in made:
            tokenizer = load_tokenizer("embedded")
            extra: dict[str, Any] = {"head_dim": 32} if architecture == "qwen3" else {}
            config = ARCHITECTURES[architecture](
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=160,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=None,
                **extra,
            )
            made[architecture] = save_random_base(config, tokenizer, tmp_path_factory.mktemp(architecture))
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def loaded_base(tiny_base: MakeBase) -> Base:
    """The tiny base, ready for packed batches. Shared by all tests: none changes it for good."""
    return load_base(tiny_base())


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


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """50 texts without turns, of 10 to some 300 tokens and three tasks."""
    rng, path = random.Random(0), tmp_path_factory.mktemp("texts") / "texts.jsonl"
    with path.open("w") as file:
        for i in range(50):
            text = f"Story {i}. " + "The cat sat on the mat. " * rng.randint(1, 40)
            file.write(json.dumps({"text": text, "task": f"tale-{i % 3}"}) + "\n")
    return str(path)


@pytest.fixture
def recipe(tiny_base: MakeBase, sums: str) -> MakeRecipe:
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
def study() -> MakeStudy:
    """A study of named recipes."""

    def make(**recipes: Recipe) -> Study:
        return Study(name="test", runs=[Run(name=name, recipe=made) for name, made in recipes.items()])

    return make
