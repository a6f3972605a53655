"""A campaign of odd rows, recipes and bases: each is trained as its file says, or refused in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeBase
from paceline.config.data import Data
from paceline.config.load import make_recipe
from paceline.data.chat import Chat, load_chat
from paceline.data.tokens import load_tokens
from paceline.errors import PacelineError
from paceline.model.base import load_base

# JSON as it stands in the file: (what is written, the text that has to be learned; None: a refusal, too).
ODD: list[tuple[str, str | None]] = [
    ('"2024-03-01"', "2024-03-01"),
    ('"0"', "0"),
    ("0", "0"),
    ("-0", "-0"),
    ("0.50", "0.50"),
    ("1e400", "1e400"),
    ("12345678901234567890123", "12345678901234567890123"),
    ("true", "true"),
    ('{"a": 1.10, "b": null}', '{"a": 1.10, "b": null}'),
    ("[1, 2]", None),
    ("null", None),
    ("NaN", None),
    ("Infinity", None),
    ('""', None),
    ('"  "', None),
    (r'"\ud800"', None),
    (r'"\u0000"', "\x00"),
    ('"line\u2028break"', "line\u2028break"),
    (r'"a\nb\r\n"', "a\nb\r\n"),
    ('"[/red] {{ x }} %s"', "[/red] {{ x }} %s"),
    ('"None"', "None"),
    ('"nan"', "nan"),
    ('"é\u0301 \U0001f600"', "é\u0301 \U0001f600"),
    ('"### Response:"', "### Response:"),
    (r'"a\tb"', "a\tb"),
    (r'"x\u2029y"', "x\u2029y"),
    ("12.0E-3", "12.0E-3"),
    ('"\uff10\uff11"', "\uff10\uff11"),
    ('{"answer": "x", "answer": "y"}', None),
    ('[{"type": "text", "text": "part"}]', None),
    ('[{"type": "image", "image": "x.png"}]', None),
]
ROWS = {
    "prompt-completion": '{{"prompt": "q", "completion": {}}}',
    "alpaca": '{{"instruction": "q", "output": {}}}',
    "question-answer": '{{"question": "q", "answer": {}}}',
    "messages": '{{"messages": [{{"role": "user", "content": "q"}},'
    ' {{"role": "assistant", "content": {}}}]}}',
    "sharegpt": '{{"conversations": [{{"from": "human", "value": "q"}}, {{"from": "gpt", "value": {}}}]}}',
}
RECIPES: list[dict[str, Any]] = [
    {"lr": value} for value in (0, -1, "high", float("nan"), float("inf"), None, [1e-4])
] + [
    {"epochs": 0},
    {"max_steps": 0},
    {"max_steps": 1.5},
    {"batch_size": 0},
    {"batch_size": "four"},
    {"grad_accum": -1},
    {"lora_r": 0},
    {"lora_r": 2.5},
    {"lora_alpha": 0},
    {"lora_dropout": 1},
    {"lora_dropout": -0.1},
    {"target_modules": []},
    {"target_modules": 3},
    {"target_modules": "("},
    {"quantize": "nf5"},
    {"dtype": "float8"},
    {"lr_scheduler": "cosin"},
    {"warmup_ratio": 2},
    {"max_length": 0},
    {"data": None},
    {"data": {}},
    {"data": {"source": "x", "n": 0}},
    {"data": {"source": "x", "eval_ratio": 1}},
    {"data": {"source": "x", "thinking": "maybe"}},
    {"data": {"source": "x", "max_bad_rows": "x%"}},
    {"data": {"source": "x", "stream": True}},
    {"seed": -1},
    {"kl": {"coef": -1}},
    {"nothing": 1},
]


@pytest.fixture(scope="module")
def chat() -> Chat:
    return load_chat("embedded", None)


def learned(path: Path, chat: Chat) -> str:
    """What the supervised tokens of the file's first row say, without the end of the turn."""
    dataset = load_tokens(Data(source=str(path), max_bad_rows=0), chat)
    ids, mask = dataset.example(int(dataset.column("row").argmin()))
    said = chat.tokenizer.decode(ids[mask == 1].tolist())
    return str(said).removesuffix(chat.ending)


def outcome(path: Path, chat: Chat) -> tuple[PacelineError | None, str]:
    """The refusal, or what is learned."""
    try:
        return None, learned(path, chat)
    except PacelineError as error:
        return error, ""


def one_line(error: PacelineError) -> None:
    assert "\n" not in str(error)
    assert str(error).strip()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(("written", "text"), ODD, ids=[written for written, _ in ODD])
def test_an_odd_row_is_learned_to_the_letter_or_refused(
    chat: Chat, tmp_path: Path, name: str, written: str, text: str | None
) -> None:
    path = tmp_path / "rows.jsonl"
    row = ROWS[name].format(written)
    sound = ROWS[name].format('"sound"')
    path.write_text(f"{row}\n{sound}\n", encoding="utf-8")
    refused, found = outcome(path, chat)
    if refused is not None:
        one_line(refused)
        assert "line 1" in str(refused)
    elif text is None:  # then only text parts may be learned, joined
        assert (written, found) == ('[{"type": "text", "text": "part"}]', "part") or written == "[1, 2]"
    else:
        assert found == text


@pytest.mark.parametrize("fields", RECIPES, ids=[json.dumps(fields) for fields in RECIPES])
def test_an_odd_recipe_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(PacelineError) as caught:
        make_recipe({"base": "embedded", "data": "rows.jsonl", **fields}, "recipe")
    one_line(caught.value)


def _cut(name: str) -> Any:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return change


def _set(name: str, **fields: Any) -> Any:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **fields}))

    return change


def _drop(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


BASES = {
    "weights cut": _cut("model.safetensors"),
    "no weights": _drop("model.safetensors"),
    "no configuration": _drop("config.json"),
    "configuration cut": _cut("config.json"),
    "another architecture": _set("config.json", model_type="nothing"),
    "an encoder": _set("config.json", model_type="bert", architectures=["BertModel"]),
    "more layers than weights": _set("config.json", num_hidden_layers=64),
    "another width": _set("config.json", hidden_size=48),
    "no heads": _set("config.json", num_attention_heads=0),
    "text for a number": _set("config.json", hidden_size="wide"),
}


@pytest.mark.parametrize("change", BASES.values(), ids=BASES)
def test_an_odd_base_is_refused(tiny_base: MakeBase, tmp_path: Path, change: Any) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_base("qwen3"), folder)
    change(folder)
    with pytest.raises(PacelineError) as caught:
        load_base(str(folder))
    one_line(caught.value)
