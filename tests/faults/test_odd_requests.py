"""Odd requests to the chat endpoint: none gives a 500, and none touches another's answer."""

import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from helpers import MakeBase
from paceline.cli.main import main
from paceline.config.load import make_recipe
from paceline.data.chat import load_chat
from paceline.evaluate import generate
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.serving import app, engine, protocol
from paceline.evaluate.serving.app import make_app
from paceline.evaluate.serving.body import read_body
from paceline.evaluate.serving.guard import Limits
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
    ("n", 0),
    ("n", 17),
    ("n", True),
    ("logprobs", 3),
    ("top_logprobs", 5),
    ("top_logprobs", 21),
    ("presence_penalty", 2.5),
    ("frequency_penalty", "x"),
    ("logit_bias", {"5": 100}),
    ("response_format", {"type": "yaml"}),
    ("response_format", {"type": "json_schema"}),
    *(
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
        for schema in (
            {"type": "dog"},
            {"not": {}},
            {"$ref": "http://x/y"},
            {"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 62615533}}},
            {"allOf": [{"type": "string", "pattern": f"(a+b+){{1,30}}{n}"} for n in range(30)]},
        )
    ),
    ("tools", [{"type": "function", "function": {"name": "f"}}]),
    ("tools", [{"type": "function", "function": {"name": "f g"}}]),
    ("tools", [{"type": "custom", "custom": {"name": "f"}}]),
    ("tools", [3]),
    ("tool_choice", "required"),
    ("tool_choice", {"type": "function", "function": {"name": "f"}}),
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
    drawn = generate.Request.draw

    def draw(request: Any) -> Any:
        if request.sampling.seed == 13 and len(request.tokens) == 3:
            raise FloatingPointError("no")
        return drawn(request)

    monkeypatch.setattr(generate.Request, "draw", draw)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda body: client.post(CHAT, json=body), [{**GOOD, "seed": 13}, *asked]))
    assert replies[0].status_code == 500
    assert replies[0].json()["error"]["type"] == "server_error"
    assert [said(reply) for reply in replies[1:]] == expected


def chunks(size: int) -> Iterator[bytes]:
    yield from (b" " * 1000 for _ in range(size // 1000))


def test_what_is_too_much_is_refused_before_it_is_read(adapter_set: AdapterSet) -> None:
    with TestClient(
        make_app(adapter_set, limits=Limits(body_bytes=100_000)), base_url="http://127.0.0.1"
    ) as client:
        assert client.post(CHAT, content=b" " * 200_000).status_code == 413
        assert client.post(CHAT, content=chunks(200_000)).json()["error"]["message"].startswith("a body may")
        long = {**GOOD, "messages": [{"role": "user", "content": "x" * 80_000}]}
        assert refused(client.post(CHAT, json=long))["code"] == "context_length_exceeded"
        assert said(client.post(CHAT, json=GOOD)) is not None


def test_a_full_line_is_said(adapter_set: AdapterSet) -> None:
    with TestClient(make_app(adapter_set, limits=Limits(requests=0)), base_url="http://127.0.0.1") as client:
        reply = client.post(CHAT, json=GOOD)
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "5")
        assert client.get("/health").status_code == 200


def test_a_key_is_asked_for(adapter_set: AdapterSet) -> None:
    with TestClient(make_app(adapter_set, key="sesame"), base_url="http://models.example") as client:
        assert client.get("/health").status_code == 200
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "sesame"}):
            reply = client.post(CHAT, json=GOOD, headers=given)
            assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
        assert said(client.post(CHAT, json=GOOD, headers={"Authorization": "Bearer sesame"})) is not None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "["}, 403),
        ({"Host": "127.0.0.1", "Origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1", "Origin": "null"}, 403),
    ],
)
def test_without_a_key_only_this_machine_is_answered(client: TestClient, headers: Any, status: int) -> None:
    assert client.get("/v1/models", headers=headers).status_code == status


def test_who_hangs_up_is_computed_for_no_longer(client: TestClient) -> None:
    body = json.dumps({**GOOD, "max_tokens": 1900, "temperature": 2}).encode()
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }
    messages = iter([{"type": "http.request", "body": body}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        pass

    async def ask() -> None:
        await client.app(scope, receive, send)

    asyncio.run(ask())
    reached = []
    for _ in range(2):
        said(client.post(CHAT, json=GOOD))
        reached.append(len(scope["asked"][0].request.tokens))
    assert reached[0] == reached[1] < 1900


@pytest.mark.parametrize("options", [["--host", "0.0.0.0"], ["--host", "192.0.2.1"], ["--api-key", "a\nb"]])
def test_a_public_address_needs_a_key(options: list[str], monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.delenv("PACELINE_API_KEY", raising=False)
    monkeypatch.setattr(sys, "argv", ["paceline", "serve", "nowhere", *options])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert ("PACELINE_API_KEY" if "--host" in options else "--api-key") in capsys.readouterr().err


def test_headers_and_bodies_that_do_not_come_end_the_connection(
    adapter_set: AdapterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    config = uvicorn.Config(
        make_app(adapter_set, limits=Limits(body_seconds=0.2)), port=0, http=protocol.PatientProtocol
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    address = server.servers[0].sockets[0].getsockname()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n".encode()
    replies = []
    for sent in (head, head + b"Content-Length: 100\r\n\r\n{"):
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(sent)
            replies.append(b"".join(iter(lambda: connection.recv(65536), b"")))
    server.should_exit = True
    thread.join()
    assert replies[0] == b""
    assert replies[1].startswith(b"HTTP/1.1 408")


def test_what_is_under_way_as_the_server_ends_gets_an_error(
    adapter_set: AdapterSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer's stream ends with an event, a plain one and what is still read with 503."""
    reading, go_on = threading.Event(), threading.Event()

    def slow(raw: bytes) -> Any:
        if b"slowly" in raw:
            reading.set()
            go_on.wait(60)
        return read_body(raw)

    monkeypatch.setattr(app, "read_body", slow)
    served = make_app(adapter_set)
    long = {**GOOD, "max_tokens": 1500, "temperature": 1.0}
    with TestClient(served, base_url="http://127.0.0.1") as client, ThreadPoolExecutor(3) as pool:
        monkeypatch.setattr(engine.Engine, "_advance", lambda *_: time.sleep(0.01))  # they never end
        answers = [
            pool.submit(client.post, CHAT, json={**long, "stream": stream}) for stream in (True, False)
        ]
        under_way = served.state.under_way.requests
        while sum("asked" in scope for scope in under_way.values()) < 2:
            time.sleep(0.01)
        slowly = [{"role": "user", "content": "slowly"}]
        answers.append(pool.submit(client.post, CHAT, json={**long, "messages": slowly}))
        assert reading.wait(60)
        assert client.portal is not None
        client.portal.call(served.state.under_way.end)
        stream, *plain = [answer.result(60) for answer in answers]
        go_on.set()
    error = {"message": "the server ends", "type": "server_error", "param": None, "code": None}
    assert json.loads(stream.text.rstrip().split("data: ")[-1]) == {"error": error}
    assert [(reply.status_code, reply.json()) for reply in plain] == [(503, {"error": error})] * 2
