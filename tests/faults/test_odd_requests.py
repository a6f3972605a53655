"""Odd requests to the chat endpoint: each is refused in OpenAI's form, and the next one is answered."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from helpers import MakeBase
from paceline.cli.main import main
from paceline.data.chat import load_chat
from paceline.evaluate.adapters import BASE, AdapterSet
from paceline.evaluate.serving import app as app_module
from paceline.evaluate.serving.app import make_app
from paceline.model.base import load_base

PATH = "/v1/chat/completions"
TURNS = [{"role": "user", "content": "q"}]
GOOD = {"model": "base", "messages": TURNS, "max_tokens": 2, "temperature": 0}

ODD_FIELDS: list[tuple[str, Any]] = [
    *(("temperature", value) for value in (-1, 3, "hot", True, [], {})),
    *(("top_p", value) for value in (0, -0.1, 1.1, "x", True)),
    *(("max_tokens", value) for value in (0, -1, 1.5, "9", 2**40, True)),
    *(("max_completion_tokens", value) for value in (0, "x")),
    *(("seed", value) for value in (-1, 1.5, 2**64, "x")),
    *(("stop", value) for value in ("", [""], [1], {}, ["x"] * 17)),
    *(("n", value) for value in (0, 2, "1")),
    *(("stream", value) for value in ("yes", 1)),
    *(("stream_options", value) for value in ("x", {"include_usage": "x"}, {"other": 1})),
    *(("tools", value) for value in ([{}], "x")),
    ("tool_choice", "required"),
    ("logprobs", True),
    ("top_logprobs", 3),
    ("presence_penalty", 0.5),
    ("frequency_penalty", -1),
    ("logit_bias", {"1": 2}),
    ("response_format", {"type": "json_object"}),
    ("chat_template_kwargs", {"enable_thinking": "yes"}),
    ("chat_template_kwargs", {"other": 1}),
    ("best_of", 2),
    ("__proto__", 1),
    *(("model", value) for value in (None, 1, "", "no such", "../base", ["base"])),
    *(("messages", value) for value in (None, "x", [], [1], [[]], {}, [{}])),
    ("messages", [{"role": "robot", "content": "x"}]),
    ("messages", [{"role": "user"}]),
    ("messages", [{"role": "user", "content": {"a": 1}}]),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]),
    ("messages", [{"role": ["user"], "content": "x"}]),
    ("messages", [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}]),
    ("messages", [{"role": "user", "content": "x " * 5000}]),
]
ODD_BODIES = [
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff\xfe",
    b'{"model": "base", "messages": ' + b"[" * 5000,
    json.dumps(GOOD).replace("0}", "NaN}").encode(),
    json.dumps(GOOD).replace("0}", "1e999}").encode(),
    json.dumps(GOOD).replace('"q"', '"\\ud800"').encode(),
]


@pytest.fixture(scope="module")
def served(tiny_base: MakeBase) -> AdapterSet:
    return AdapterSet(load_base(tiny_base()), load_chat(tiny_base()), {BASE: None})


@pytest.fixture(scope="module")
def client(served: AdapterSet) -> Iterator[TestClient]:
    with TestClient(make_app(served), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def expected(client: TestClient) -> str:
    return str(answer_of(client.post(PATH, json=GOOD)))


def answer_of(response: Any) -> Any:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def refused(response: Any, *statuses: int) -> dict[str, Any]:
    assert response.status_code in statuses, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    return dict(error)


@pytest.mark.parametrize(("field", "value"), ODD_FIELDS, ids=lambda value: str(value)[:30])
def test_an_odd_field_is_refused_by_its_name(
    field: str, value: Any, client: TestClient, expected: str
) -> None:
    error = refused(client.post(PATH, json={**GOOD, field: value}), 400, 404)
    assert (error["param"] or "messages").startswith(field)
    assert answer_of(client.post(PATH, json=GOOD)) == expected


@pytest.mark.parametrize("body", ODD_BODIES, ids=lambda body: str(body[:20]))
def test_an_odd_body_is_refused(body: bytes, client: TestClient, expected: str) -> None:
    refused(client.post(PATH, content=body), 400)
    assert answer_of(client.post(PATH, json=GOOD)) == expected


def test_fields_that_say_what_is_so_anyway_are_taken(client: TestClient, expected: str) -> None:
    quiet = {"n": 1, "tools": [], "tool_choice": "none", "logprobs": False, "presence_penalty": 0.0}
    quiet |= {"frequency_penalty": 0, "logit_bias": {}, "response_format": {"type": "text"}, "user": "me"}
    quiet |= {"stop": None, "seed": None, "stream": False, "metadata": {}, "top_p": None}
    assert answer_of(client.post(PATH, json={**GOOD, **quiet})) == expected


def test_a_long_body_is_not_read_whole(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "MAX_BODY", 1000)
    read = []

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            read.append(1)
            yield b"x" * 400

    refused(client.post(PATH, content=b"x" * 1001), 413)
    refused(client.post(PATH, content=pieces()), 413)
    refused(client.post(PATH, content=b"{}", headers={"Content-Length": "-1"}), 413)


def test_too_many_are_told_to_come_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "MAX_UNDER_WAY", 0)
    response = client.post(PATH, json=GOOD)
    refused(response, 429)
    assert response.headers["Retry-After"] == "1"


def test_health_answers_while_a_prompt_is_read(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, done = threading.Event(), threading.Event()
    prompt = AdapterSet.prompt

    def slow(*arguments: Any) -> Any:
        reading.set()
        assert done.wait(30)
        return prompt(*arguments)

    monkeypatch.setattr(AdapterSet, "prompt", slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, PATH, json=GOOD)
        assert reading.wait(30)
        assert client.get("/health").status_code == 200
        done.set()
        answer_of(asked.result())


def test_one_that_the_engine_refuses_harms_no_other(
    served: AdapterSet, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = AdapterSet.generator

    def picky(self: AdapterSet) -> Any:
        made: Any = generator(self)
        add = made.add

        def refusing(requests: Any) -> None:
            if requests[0].sampling.seed == 7:
                raise RuntimeError("not this one")
            add(requests)

        made.add = refusing
        return made

    monkeypatch.setattr(AdapterSet, "generator", picky)
    with TestClient(make_app(served)) as client, ThreadPoolExecutor(3) as pool:
        seeds = [0, 7, 0]
        replies = list(pool.map(lambda seed: client.post(PATH, json={**GOOD, "seed": seed}), seeds))
    assert refused(replies[1], 500)["message"] == "RuntimeError: not this one"
    assert [answer_of(replies[0]), answer_of(replies[2])] == [expected] * 2


def test_a_key_and_a_name(served: AdapterSet) -> None:
    app = make_app(served, api_key="secret", hosts=["localhost"])
    with TestClient(app, base_url="http://localhost") as client:
        refused(client.post(PATH, json=GOOD), 401)
        refused(client.post(PATH, json=GOOD, headers={"Authorization": "Bearer other"}), 401)
        refused(client.get("/v1/models", headers={"Authorization": "secret"}), 401)
        assert client.get("/health").status_code == 200
        answer_of(client.post(PATH, json=GOOD, headers={"Authorization": "Bearer secret"}))
        other = client.get("/health", headers={"Host": "evil.example"})
        assert other.status_code == 400


def test_a_public_address_without_a_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PACELINE_API_KEY", raising=False)
    monkeypatch.setattr("sys.argv", ["paceline", "serve", "nowhere", "--host", "0.0.0.0"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "set a key with PACELINE_API_KEY" in capsys.readouterr().err
