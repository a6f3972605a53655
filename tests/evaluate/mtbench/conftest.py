"""Questions, a judge's server that misbehaves, and one trained run."""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeBase
from judge_server import QUESTIONS
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.evaluate.adapters import load_adapters
from paceline.training.study import train_study


@pytest.fixture
def file(tmp_path: Path) -> Any:
    path = tmp_path / "question.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return path


@pytest.fixture(scope="module")
def adapter_set(tiny_base: MakeBase, sums: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("mtbench")
    recipe = make_recipe(
        {"base": tiny_base("qwen3"), "data": sums, "max_length": 256, "lr": 5e-3, "max_steps": 4}, "a"
    )
    train_study(Study(name="mtbench", runs=[Run(name="a", recipe=recipe)]), folder)
    return load_adapters([folder / "a"], with_base=True)
