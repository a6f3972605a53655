"""Odd requests to the chat endpoint: none gives a 500, and none touches another's answer."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from helpers import MakeBase
from paceline.config.load import make_recipe
from paceline.data.chat import load_chat
from paceline.evaluate import generate
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.serving.app import make_app
from paceline.model.base import load_base

TURNS = [{"role": "user", "content": "Why?"}]
GOOD = {"model": "base", "messages": TURNS, "max_tokens": 4, "temperature": 0}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def adapter_set(tiny_base: MakeBase) -> AdapterSet:
    name = tiny_base("qwen3")
    base = load_base(name)
    adapter = base.new_adapter(make_recipe({"base": name, "data": "none"}, "a"))
    return AdapterSet(base, load_chat(name), {"base": None, "a": adapter})


@pytest.fixture(scope="module")
def client(adapter_set: AdapterSet) -> Iterator[TestClient]:
    with TestClient(make_app(adapter_set), base_url="http://127.0.0.1") as opened:
        yield opened


def said(reply: Any) -> Any:
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


ODD_FIELDS: list[tuple[str, Any]] = [
    ("model", None),
    ("model", 3),
    ("model", ["base"]),
    ("messages", None),
    ("messages", "Why?"),
    ("messages", []),
    ("messages", [None]),
    ("messages", ["Why?"]),
    ("messages", [{}]),
    ("messages", [{"role": "user"}]),
    ("messages", [{"role": "user", "content": 3}]),
    ("messages", [{"role": ["user"], "content": "x"}]),
    ("messages", [{"role": "robot", "content": "x"}]),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
    ("messages", [{"role": "assistant", "content": None, "tool_calls": 3}]),
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 1.5),
    ("max_tokens", "4"),
    ("max_tokens", True),
    ("max_tokens", 10**6),
    ("max_tokens", 10**40),
    ("max_completion_tokens", [4]),
    ("temperature", -0.1),
    ("temperature", 1e300),
    ("temperature", "hot"),
    ("temperature", True),
    ("temperature", {}),
    ("top_p", -1),
    ("top_p", 1.1),
    ("top_p", "all"),
    ("seed", 0.5),
    ("seed", 2**64),
    ("seed", "x"),
    ("stop", ""),
    ("stop", ["", "x"]),
    ("stop", 3),
    ("stop", [None]),
    ("stop", ["x"] * 17),
    ("stream", "yes"),
    ("stream", 1),
    ("stream_options", 3),
    ("stream_options", {"include_usage": "x"}),
    ("chat_template_kwargs", []),
    ("chat_template_kwargs", {"enable_thinking": "x"}),
    ("chat_template_kwargs", {"other": 1}),
    ("n", 2),
    ("n", True),
    ("logprobs", True),
    ("top_logprobs", 5),
    ("presence_penalty", 0.5),
    ("frequency_penalty", -1),
    ("logit_bias", {"5": 100}),
    ("response_format", {"type": "json_object"}),
    ("tools", [{"type": "function", "function": {"name": "f"}}]),
    ("tool_choice", "required"),
    ("user", 3),
    ("unheard_of", 1),
    ("x" * 10**5, 1),
]

ODD_BODIES = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b"[" * 10**5,
    b'{"model": ' + b"9" * 5000 + b"}",
    json.dumps({**GOOD, "temperature": float("nan")}).encode(),
    json.dumps({**GOOD, "top_p": float("inf")}).encode(),
    json.dumps(GOOD).replace('"temperature": 0', '"temperature": 1e999').encode(),
    json.dumps({**GOOD, "model": "\ud800"}).encode(),
    json.dumps({**GOOD, "messages": [{"role": "user", "content": "\udfff"}]}).encode(),
    json.dumps({**GOOD, "stop": "\ud800"}).encode(),
]


def refused(reply: Any) -> Any:
    error = reply.json()["error"]
    assert reply.status_code in (400, 404), reply.text
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) < 1000
    return error


@pytest.mark.parametrize(("name", "value"), ODD_FIELDS, ids=lambda value: repr(value)[:40])
def test_an_odd_field_is_refused_by_its_name(client: TestClient, name: str, value: Any) -> None:
    error = refused(client.post(CHAT, json={**GOOD, name: value}))
    expected = "messages" if value == 10**6 else name[:60]
    assert error["param"].startswith(expected)


@pytest.mark.parametrize("body", ODD_BODIES, ids=lambda body: repr(body[:30]))
def test_an_odd_body_is_refused(client: TestClient, body: bytes) -> None:
    refused(client.post(CHAT, content=body))
    assert said(client.post(CHAT, json=GOOD)) is not None


@pytest.mark.parametrize(
    "harmless",
    [
        {"n": 1, "logprobs": False, "presence_penalty": 0, "frequency_penalty": 0.0, "tools": None},
        {"logit_bias": {}, "response_format": {"type": "text"}, "stop": None, "user": "me", "top_k": -1},
        {"temperature": 1e-300},
        {"temperature": 0, "top_p": 0, "seed": -5},
    ],
)
def test_what_asks_for_nothing_changes_nothing(client: TestClient, harmless: Any) -> None:
    assert said(client.post(CHAT, json={**GOOD, **harmless})) == said(client.post(CHAT, json=GOOD))


def test_another_path_or_method_is_refused_in_the_same_form(client: TestClient) -> None:
    refused(client.get("/v1/nothing"))
    assert client.get(CHAT).json()["error"]["message"] == "Method Not Allowed"


def test_one_that_fails_in_the_batch_fails_alone(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [{**GOOD, "model": name, "max_tokens": size} for name in ("base", "a") for size in (12, 20, 28)]
    expected = [said(client.post(CHAT, json=body)) for body in asked]
    taken = generate.pick

    def pick(logits: Any, request: Any) -> int:
        if request.sampling.seed == 13 and len(request.tokens) == 3:
            raise FloatingPointError("no")
        return taken(logits, request)

    monkeypatch.setattr(generate, "pick", pick)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda body: client.post(CHAT, json=body), [{**GOOD, "seed": 13}, *asked]))
    assert replies[0].status_code == 500
    assert replies[0].json()["error"]["type"] == "server_error"
    assert [said(reply) for reply in replies[1:]] == expected
