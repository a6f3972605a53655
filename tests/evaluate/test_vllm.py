"""The calls that vLLM's engine gets and what is made of its outputs, against a stand-in with vLLM's interface: there is no GPU here."""

import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import MakeBase, MakeRecipe
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.errors import PacelineError
from paceline.evaluate.answers import Prompt, answer_all
from paceline.evaluate.generate import Sampling
from paceline.evaluate.vllm import VLLMAdapterSet
from paceline.model.base import Base
from paceline.training.study import train_study


class Engine:
    """Answers each request with its number of prompt tokens, a token a step, then stops."""

    def __init__(self, arguments: Any) -> None:
        self.arguments, self.asked = arguments, {}

    @classmethod
    def from_engine_args(cls, arguments: Any) -> Any:
        return cls(arguments)

    def add_request(self, name: Any, prompt: Any, params: Any, lora_request: Any = None) -> None:
        self.asked[name] = SimpleNamespace(
            prompt=prompt["prompt_token_ids"], params=params, lora=lora_request, said=[]
        )

    def has_unfinished_requests(self) -> Any:
        return any(len(r.said) < 3 for r in self.asked.values())

    def step(self) -> Any:
        outputs = []
        for name, r in self.asked.items():
            if len(r.said) < 3:
                r.said.append(10 + len(r.prompt) % 7 if len(r.said) < 2 else r.params.stop_token_ids[0])
                done = len(r.said) == 3
                said = SimpleNamespace(token_ids=list(r.said), finish_reason="stop" if done else None)
                outputs.append(SimpleNamespace(request_id=name, outputs=[said], finished=done))
        return outputs


@pytest.fixture
def folder(tiny_base: MakeBase, sums: str, tmp_path: Path) -> Any:
    common = {"base": tiny_base("qwen3"), "data": sums, "max_length": 256, "max_steps": 1}
    runs = [
        Run(name="a", recipe=make_recipe({**common, "lora_r": 4}, "a")),
        Run(name="b", recipe=make_recipe({**common, "lora_r": 32}, "b")),
    ]
    train_study(Study(name="two", runs=runs), tmp_path / "two")
    return tmp_path / "two"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm, lora = types.ModuleType("vllm"), types.ModuleType("vllm.lora.request")
    vllm.LLMEngine, vllm.EngineArgs, vllm.SamplingParams = Engine, SimpleNamespace, SimpleNamespace
    lora.LoRARequest = lambda name, number, path: SimpleNamespace(name=name, number=number, path=path)
    for name, module in (
        ("vllm", vllm),
        ("vllm.lora", types.ModuleType("vllm.lora")),
        ("vllm.lora.request", lora),
    ):
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("stand_in")
def test_adapters_of_embeddings_and_head_are_refused(
    loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> None:
    chosen = recipe(target_modules=["q_proj", "embed_tokens", "lm_head"])
    loaded_base.new_adapter(chosen).save(tmp_path, chosen)
    with pytest.raises(PacelineError, match=r"is on lm_head, model\.embed_tokens too"):
        VLLMAdapterSet([tmp_path], with_base=False)


@pytest.mark.usefixtures("stand_in")
def test_answers_have_the_same_form(folder: Any, tmp_path: Path) -> None:
    adapter_set = VLLMAdapterSet([folder], with_base=True)
    assert adapter_set._engine.arguments.max_lora_rank == 32
    lines = answer_all(
        adapter_set,
        [Prompt("x", [{"role": "user", "content": "Why?"}])],
        tmp_path / "out.jsonl",
        Sampling(max_new_tokens=5),
    )
    assert [(line.run, line.tokens, line.finish) for line in lines] == [
        ("base", 2, "stop"),
        ("a", 2, "stop"),
        ("b", 2, "stop"),
    ]
    asked = list(adapter_set._engine.asked.values())
    assert [r.lora and r.lora.path for r in asked] == [
        None,
        str(folder / "a" / "adapter"),
        str(folder / "b" / "adapter"),
    ]
    assert asked[0].params.max_tokens == 5
    assert asked[0].params.seed is None


def test_without_vllm_it_says_how_to_get_it(folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(PacelineError, match=r"paceline\[vllm\]"):
        VLLMAdapterSet([folder], with_base=False)
