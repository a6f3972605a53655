"""The chat endpoint, asked by the client that people use."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

from helpers import MakeBase
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.evaluate.adapters import load_adapters
from paceline.evaluate.answers import Prompt, answer_all
from paceline.evaluate.generate import Sampling
from paceline.evaluate.serving.app import make_app
from paceline.evaluate.serving.engine import overlap
from paceline.training.study import train_study

QUESTIONS = ["What is 2 plus 2?", "Why?", "Say something about rivers, please.", "x"]


@pytest.fixture(scope="module")
def adapter_set(tiny_base: MakeBase, sums: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("served")
    common = {
        "base": tiny_base("qwen3"),
        "data": sums,
        "max_length": 256,
        "lr": 5e-3,
        "max_steps": 12,
        "batch_size": 4,
        "grad_accum": 1,
    }
    runs = [
        Run(name="a", recipe=make_recipe(common, "a")),
        Run(name="b", recipe=make_recipe({**common, "seed": 3}, "b")),
    ]
    train_study(Study(name="served", runs=runs), folder)
    return load_adapters([folder], with_base=True)


@pytest.fixture(scope="module")
def client(adapter_set: Any) -> Iterator[Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_app(adapter_set), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    server.should_exit = True
    thread.join()


def ask(client: Any, model: Any, question: Any, **options: Any) -> Any:
    turns = [{"role": "user", "content": question}]
    return client.chat.completions.create(
        **{"model": model, "messages": turns, "temperature": 0, "max_tokens": 24, **options}
    )


def test_every_adapter_is_a_model(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["base", "a", "b"]


def test_answers_at_once_are_those_of_generate(client: Any, adapter_set: Any, tmp_path: Path) -> None:
    prompts = [Prompt(question, [{"role": "user", "content": question}]) for question in QUESTIONS]
    expected = {
        (line.run, line.id): line
        for line in answer_all(adapter_set, prompts, tmp_path / "out.jsonl", Sampling(max_new_tokens=24))
    }
    with ThreadPoolExecutor(12) as pool:
        found = dict(zip(expected, pool.map(lambda key: ask(client, *key), expected), strict=True))
    for key, reply in found.items():
        assert reply.choices[0].message.content == expected[key].answer
        assert reply.choices[0].finish_reason == expected[key].finish
        assert reply.usage.completion_tokens == expected[key].tokens
        assert reply.model == key[0]


def test_a_stream_gives_the_same_text_in_pieces(client: Any) -> None:
    whole = ask(client, "a", QUESTIONS[0]).choices[0]
    chunks = list(ask(client, "a", QUESTIONS[0], stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.message.content
    assert sum(map(bool, pieces)) > 1
    assert next(c.choices[0].finish_reason for c in reversed(chunks) if c.choices) == whole.finish_reason
    assert chunks[-1].usage.completion_tokens > 0


def test_a_stop_text_ends_the_answer_and_is_not_in_it(client: Any) -> None:
    whole = ask(client, "a", QUESTIONS[0]).choices[0].message.content
    stop = whole[4:7]
    reply = ask(client, "a", QUESTIONS[0], stop=[stop]).choices[0]
    assert reply.message.content == whole[: whole.index(stop)]
    assert reply.finish_reason == "stop"
    streamed = "".join(
        c.choices[0].delta.content or "" for c in ask(client, "a", QUESTIONS[0], stop=stop, stream=True)
    )
    assert streamed == reply.message.content
    assert [overlap(text, "end.") for text in ("an en", "end", "end.", "x")] == [2, 3, 0, 0]


def test_who_hangs_up_holds_nobody_up(client: Any) -> None:
    stream = ask(client, "base", "Tell me all.", stream=True, max_tokens=1500)
    next(iter(stream))
    stream.close()
    assert ask(client, "a", QUESTIONS[1]).choices[0].finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"model": "c"}, 404, "no model 'c'"),
        ({"messages": []}, 400, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "turn 1: unknown role"),
        ({"temperature": -1}, 400, "temperature: Input should be greater"),
        ({"logit_bias": {"3": 1}}, 400, "logit_bias is not served"),
        ({"max_tokens": 10**6}, 400, "do not fit into the model's 2048"),
    ],
)
def test_bad_requests_say_what_is_wrong(client: Any, options: Any, status: Any, said: Any) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, **{"model": "a", "question": "x", **options})
    assert caught.value.status_code == status
    assert said in caught.value.message
