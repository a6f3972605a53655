"""What a request may ask for beside the text: log probabilities, several answers, penalties, JSON, tools."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from starlette.testclient import TestClient
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from helpers import MakeBase
from paceline.data.chat import load_chat
from paceline.evaluate import generate
from paceline.evaluate.adapters import AdapterSet, load_adapters
from paceline.evaluate.serving.app import make_app
from paceline.evaluate.serving.guard import Limits
from paceline.evaluate.serving.token_bytes import TokenBytes
from paceline.evaluate.serving.tool_calls import read_answer

CHAT = "/v1/chat/completions"
TEMPLATES = Path(__file__).parents[1] / "data" / "templates"
ASKED: dict[str, Any] = {
    "model": "lora",
    "messages": [{"role": "user", "content": "Why?"}],
    "max_tokens": 16,
    "temperature": 0,
    "seed": 3,
}
TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}
SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["good", "bad"]},
        "ages": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3},
    },
    "required": ["mood", "ages"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def folder(tiny_base: MakeBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that PEFT made, with random weights."""
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    base = AutoModelForCausalLM.from_pretrained(tiny_base("qwen3"))
    torch.manual_seed(5)
    made = get_peft_model(base, config)
    path = tmp_path_factory.mktemp("made") / "lora"
    made.save_pretrained(str(path))
    return path


@pytest.fixture(scope="module")
def reference(folder: Path, tiny_base: MakeBase) -> Any:
    """Logits after a text, by transformers and PEFT: tokens -> (tokens, vocabulary)."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base("qwen3")), folder).eval()

    @torch.inference_mode()
    def logits(tokens: list[int]) -> Any:
        return model(torch.tensor([tokens])).logits[0].double().numpy()

    return logits


@pytest.fixture(scope="module")
def adapter_set(folder: Path) -> AdapterSet:
    return load_adapters([folder], with_base=True)


@pytest.fixture(scope="module")
def client(adapter_set: AdapterSet) -> Iterator[TestClient]:
    with TestClient(make_app(adapter_set), base_url="http://127.0.0.1") as opened:
        yield opened


@pytest.fixture(scope="module")
def tool_set(adapter_set: AdapterSet, tiny_base: MakeBase) -> AdapterSet:
    return replace(adapter_set, chat=load_chat(tiny_base("qwen3"), str(TEMPLATES / "qwen3.jinja")))


def choices(client: TestClient, **options: Any) -> Any:
    reply = client.post(CHAT, json={**ASKED, **options})
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"]


def streamed(client: TestClient, **options: Any) -> list[Any]:
    """The choices that a client puts together from a stream."""
    lines = client.post(CHAT, json={**ASKED, **options, "stream": True}).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    made: dict[int, Any] = {}
    for line in lines[:-2]:
        (part,) = json.loads(line.removeprefix("data: "))["choices"]
        empty = {"message": {"role": "assistant", "content": ""}, "logprobs": None}
        choice = made.setdefault(part["index"], {"index": part["index"], **empty})
        choice["message"]["content"] += part["delta"].get("content", "")
        for call in part["delta"].get("tool_calls", []):
            choice["message"].setdefault("tool_calls", []).append(call)
        if part["logprobs"] and (content := part["logprobs"]["content"]):
            choice["logprobs"] = choice["logprobs"] or {"content": [], "refusal": None}
            choice["logprobs"]["content"] += content
        choice["finish_reason"] = part["finish_reason"]
    return [made[index] for index in sorted(made)]


def tokens_of(choice: Any, adapter_set: AdapterSet) -> list[int]:
    """The tokens of an answer, by their bytes."""
    token_bytes = TokenBytes(adapter_set.chat.tokenizer)
    ids = {token_bytes(token): token for token in reversed(range(len(adapter_set.chat.tokenizer)))}
    return [ids[bytes(entry["bytes"])] for entry in choice["logprobs"]["content"]]


def prompt_of(adapter_set: AdapterSet) -> list[int]:
    return adapter_set.prompt(ASKED["messages"], thinking=False)


def test_logprobs_are_of_the_models_own_distribution(client: Any, adapter_set: Any, reference: Any) -> None:
    changed: Any = {"temperature": 1.3, "presence_penalty": 1.0, "logprobs": True, "top_logprobs": 5}
    (choice,) = choices(client, **changed)
    entries, prompt = choice["logprobs"]["content"], prompt_of(adapter_set)
    tokens = tokens_of(choice, adapter_set)
    expected = torch.tensor(reference(prompt + tokens)[len(prompt) - 1 : -1]).log_softmax(1)
    assert len(entries) == 16
    for entry, token, row in zip(entries, tokens, expected, strict=True):
        assert entry["logprob"] == pytest.approx(float(row[token]), abs=1e-4)
        assert [top["logprob"] for top in entry["top_logprobs"]] == pytest.approx(
            row.topk(5).values.tolist(), abs=1e-4
        )
    assert (
        b"".join(bytes(entry["bytes"]) for entry in entries).decode(errors="replace")
        == choice["message"]["content"]
    )
    assert streamed(client, **changed) == [choice]


def test_logprobs_end_where_a_stop_text_begins(client: Any) -> None:
    (whole,) = choices(client, logprobs=True)
    assert all(entry["top_logprobs"] == [] for entry in whole["logprobs"]["content"])
    text = whole["message"]["content"]
    stop = text[len(text) // 2 :][:3]
    (cut,) = choices(client, logprobs=True, stop=stop)
    written = b"".join(bytes(entry["bytes"]) for entry in cut["logprobs"]["content"]).decode(errors="replace")
    assert written.startswith(cut["message"]["content"])
    assert len(cut["logprobs"]["content"]) < 16
    assert streamed(client, logprobs=True, stop=stop) == [cut]


def test_penalties_are_openais(client: Any, adapter_set: Any, reference: Any) -> None:
    penalties: Any = {"presence_penalty": -1, "frequency_penalty": 0.3, "logprobs": True}
    (plain,), (choice,) = choices(client, logprobs=True), choices(client, **penalties)
    prompt, tokens = prompt_of(adapter_set), list[int]()
    for _ in range(16):
        logits = reference(prompt + tokens)[-1]
        for token, count in Counter(tokens).items():
            logits[token] -= count * 0.3 + (count > 0) * -1
        tokens.append(int(logits.argmax()))
    assert tokens_of(choice, adapter_set) == tokens != tokens_of(plain, adapter_set)
    assert len(set(Counter(tokens).values())) > 1


def test_n_answers_are_drawn_apart_from_one_prefill(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Any = {"temperature": 1, "logprobs": True}
    alone = choices(client, **drawn)
    prompts = []
    admit = generate.Generator._admit

    def watched(self: Any) -> None:
        admit(self)
        prompts.extend(request for request in self._active if not request._cache.length)

    monkeypatch.setattr(generate.Generator, "_admit", watched)
    three = choices(client, n=3, **drawn)
    assert len(prompts) == 1
    assert three[0] == alone[0]
    assert [choice["index"] for choice in three] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in three}) == 3
    assert streamed(client, n=3, **drawn) == three
    assert choices(client, n=3, **{**drawn, "seed": 4}) != three
    assert len({choices(client, temperature=1, seed=None)[0]["message"]["content"] for _ in range(2)}) == 2


def test_n_answers_take_n_places_in_line(adapter_set: AdapterSet) -> None:
    app = make_app(adapter_set, limits=Limits(requests=2))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for _ in range(2):  # places are given back
            refused = client.post(CHAT, json={**ASKED, "n": 3})
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            assert len(choices(client, n=2)) == 2


def test_one_request_never_changes_another(client: TestClient) -> None:
    asked: list[Any] = [
        {},
        {"temperature": 1, "n": 3, "logprobs": True, "top_logprobs": 2},
        {"frequency_penalty": 1.5, "model": "base"},
        {"response_format": {"type": "json_object"}, "temperature": 1},
        {"temperature": 0.7, "max_tokens": 30, "n": 2, "presence_penalty": -1},
        {"logprobs": True, "max_tokens": 5},
    ]
    alone = [choices(client, **options) for options in asked]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda options: choices(client, **options), [*asked, *reversed(asked)]))
    assert together == [*alone, *reversed(alone)]


@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_an_answer_is_json_unless_it_is_cut(client: TestClient, schema: Any) -> None:
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    wanted: Any = {"response_format": named if schema else {"type": "json_object"}, "temperature": 1.5}
    answers = choices(client, n=4, max_tokens=100, **wanted)
    whole = [choice["message"]["content"] for choice in answers if choice["finish_reason"] == "stop"]
    assert whole
    for text in whole:
        assert isinstance(read := json.loads(text), dict)
        if schema:
            assert set(read) == {"mood", "ages"}
            assert read["mood"] in ("good", "bad")
            assert len(read["ages"]) <= 3
            assert all(age in range(10) for age in read["ages"])
    cut = [choice for choice in answers if choice["finish_reason"] == "length"]
    assert len(cut) + len(whole) == 4
    assert {c["finish_reason"] for c in choices(client, **{**wanted, "max_tokens": 1})} == {"length"}
    assert streamed(client, n=4, max_tokens=100, **wanted) == answers


def test_without_llguidance_the_extra_is_named(adapter_set: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    with TestClient(make_app(adapter_set), base_url="http://127.0.0.1") as client:
        reply = client.post(CHAT, json={**ASKED, "response_format": {"type": "json_object"}})
    assert reply.status_code == 400
    assert "pip install 'paceline[serve]'" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_logprobs": 2}, "top_logprobs needs logprobs"),
        ({"response_format": {"type": "json_object"}, "stop": "}"}, "stop could cut"),
        ({"tools": [TOOL]}, "takes no tools"),
    ],
)
def test_what_cannot_be_kept_is_refused(client: TestClient, options: Any, said: str) -> None:
    reply = client.post(CHAT, json={**ASKED, **options})
    assert reply.status_code == 400
    assert said in reply.json()["error"]["message"]


def test_a_grammar_that_fails_refuses_its_own_request(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from paceline.evaluate.serving.rules import Rules

    def failing(self: Rules, size: int) -> Any:
        self.failed = "too complex"
        return np.ones(size, bool)

    expected = choices(client)
    monkeypatch.setattr(Rules, "_allowed", failing)
    bodies = [{**ASKED, "response_format": {"type": "json_object"}}, ASKED]
    with ThreadPoolExecutor(2) as pool:
        refused, other = pool.map(lambda body: client.post(CHAT, json=body), bodies)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")
    assert other.json()["choices"] == expected


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "s": "é</tool_call>"}}\n</tool_call>'
ADD = ("add", {"a": 1, "s": "é</tool_call>"})


@pytest.mark.parametrize(
    ("answer", "content", "calls", "finish"),
    [
        (CALL, None, [ADD], "tool_calls"),
        (f"Let me see.\n{CALL}\n{CALL}", "Let me see.", [ADD, ADD], "tool_calls"),
        ("a < b", "a < b", [], "stop"),
        ('<tool_call>\n{"name": "add", \n</tool_call>', ..., [], "stop"),
        ('<tool_call>\n{"name": "add", "arguments": 3}\n</tool_call>', ..., [], "stop"),
        (f"<tool_call>no\n{CALL}", "<tool_call>no", [ADD], "tool_calls"),
        ("<tool_call>" * 3, ..., [], "stop"),
    ],
)
def test_calls_of_an_answer_are_openais(
    tool_set: Any, monkeypatch: Any, answer: str, content: Any, calls: Any, finish: str
) -> None:
    tokenizer = tool_set.chat.tokenizer
    tokens = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    take = generate.Generator._take
    monkeypatch.setattr(
        generate.Generator, "_take", lambda self, request, _: take(self, request, tokens[len(request.tokens)])
    )
    with TestClient(make_app(tool_set), base_url="http://127.0.0.1") as client:
        (whole,) = choices(client, tools=[TOOL], max_tokens=200)
        (parts,) = streamed(client, tools=[TOOL], max_tokens=200)
        (untold,) = choices(client, tools=[TOOL], tool_choice="none", max_tokens=200)
        (cut,) = choices(client, tools=[TOOL], max_tokens=len(tokens) - 2)
    assert whole["message"]["content"] == (answer if content is ... else content)
    assert whole["finish_reason"] == parts["finish_reason"] == finish
    assert parts["message"]["content"] == (whole["message"]["content"] or "")
    for made in (whole, parts):
        found = made["message"].get("tool_calls", [])
        functions = [call["function"] for call in found]
        assert [(f["name"], json.loads(f["arguments"])) for f in functions] == calls
        assert len({call["id"] for call in found}) == len(calls)
    assert untold["message"] == {"role": "assistant", "content": answer}
    assert cut["finish_reason"] == "length"


def test_tools_are_rendered_as_in_training(tool_set: Any) -> None:
    turns = [
        {"role": "user", "content": "1 + 1?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "2"},
    ]
    as_data = [turns[0], {**turns[1], "content": ""}, turns[2]]
    as_data[1]["tool_calls"] = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    tokenizer = tool_set.chat.tokenizer
    text = tokenizer.apply_chat_template(
        as_data, tools=[TOOL], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    with TestClient(make_app(tool_set), base_url="http://127.0.0.1") as client:
        strict = {**TOOL, "function": {**TOOL["function"], "strict": False}}
        reply = client.post(CHAT, json={**ASKED, "messages": turns, "tools": [strict]}).json()
        assert client.post(CHAT, json={**ASKED, "tools": [{**TOOL, "type": "x"}]}).status_code == 400
    assert '"name": "add"' in text
    assert reply["usage"]["prompt_tokens"] == len(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_calls_in_a_form_that_is_not_read_are_refused(adapter_set: AdapterSet, tiny_base: MakeBase) -> None:
    for name, said in (("llama3", "another form"), ("qwen2_5", None), ("mistral", "template")):
        chat = load_chat(tiny_base("qwen3"), str(TEMPLATES / f"{name}.jinja"))
        with TestClient(make_app(replace(adapter_set, chat=chat)), base_url="http://127.0.0.1") as client:
            reply = client.post(CHAT, json={**ASKED, "tools": [TOOL], "max_tokens": 1})
        assert reply.status_code == (400 if said else 200), (name, reply.text)
        assert said is None or said in reply.json()["error"]["message"]


def test_the_bytes_of_tokens_are_those_of_the_text(adapter_set: AdapterSet) -> None:
    text = "Привет, 世界 🙂\n<|im_end|> a"
    tokenizer = adapter_set.chat.tokenizer
    token_bytes = TokenBytes(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(map(token_bytes, ids)) == text.encode()
    assert token_bytes(10**6) == b""
    pieces = {"▁a": 0, "<0xE2>": 1, "b": 2}
    sentencepiece = Tokenizer(BPE(pieces, [], byte_fallback=True))
    sentencepiece.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    of_pieces = TokenBytes(PreTrainedTokenizerFast(tokenizer_object=sentencepiece))
    assert [of_pieces(token) for token in range(3)] == [b" a", b"\xe2", b"b"]


def test_deep_nesting_in_a_call_is_text() -> None:
    text = '<tool_call>{"name": "f", "arguments": ' + "[" * 100_000 + "</tool_call>"
    assert read_answer(text) == (text, [])
