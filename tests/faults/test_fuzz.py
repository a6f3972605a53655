"""Odd recipes, studies, adapters, rows and arguments: each is read, or refused in one line."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.template_bases import chat_of
from paceline.api.loading import as_study
from paceline.cli.main import main
from paceline.config.aliases import all_names
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.data.formats import RowFormat
from paceline.data.formats.registry import BUILT_IN
from paceline.data.tokens import _encode, _read
from paceline.errors import PacelineError
from paceline.model.peft_config import read_peft_config

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.dates(),
    st.binary(max_size=4),
    st.text(max_size=8),
    st.sampled_from(["no", "both", "5%", "a,b", "(", "eval_loss < nan", "perplexity < 6", "pissa", "m:f"]),
)
NAMES = st.sampled_from([*Recipe.model_fields, *all_names()])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(NAMES, st.text(max_size=5)), inner, max_size=3),
    ),
    max_leaves=6,
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=4)
STUDY = st.sampled_from(["study", "objective", "recipe", "published", "seeds", "noise", "success", "runs"])
RUN = st.sampled_from(["name", "hypothesis", "preset", "seeds", "expect", "success"])
PEFT = st.sampled_from(
    [
        "peft_type",
        "bias",
        "base_model_name_or_path",
        "r",
        "lora_alpha",
        "target_modules",
        "lora_dropout",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "trainable_token_indices",
        "use_dora",
        "odd",
    ]
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
CALM = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


def refused_in_one_line(read: Any, *arguments: Any) -> None:
    said = "read"
    try:
        read(*arguments)
    except PacelineError as error:
        said = str(error)
    assert said.strip()
    assert "\n" not in said


@settings(CALM, max_examples=500)
@given(fields=FIELDS)
def test_odd_recipes(fields: dict[str, Any]) -> None:
    refused_in_one_line(make_recipe, {"base": "b", "data": "d", **fields}, "recipe")


@settings(CALM, max_examples=400)
@given(top=st.dictionaries(STUDY, VALUES, max_size=2), own=st.dictionaries(RUN, VALUES, max_size=3))
def test_odd_studies(tmp_path: Path, top: dict[str, Any], own: dict[str, Any]) -> None:
    runs = [{"name": "a", "base": "b", "data": "d"}, {"name": "c", **own}]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"runs": runs, **top}), encoding="utf-8")
    refused_in_one_line(as_study, tmp_path / "s.yaml")


@settings(CALM, max_examples=500)
@given(text=st.text(alphabet="ab:-[]{}&*<!#'\"|>?%@, \n\t\x001.e", max_size=60))
def test_odd_yaml_texts(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    refused_in_one_line(as_study, tmp_path / "s.yaml")


@settings(CALM, max_examples=300)
@given(odd=st.dictionaries(PEFT, JSON, min_size=1, max_size=3))
def test_odd_adapter_configurations(tmp_path: Path, odd: dict[str, Any]) -> None:
    sound = {"base_model_name_or_path": "b", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(sound | odd), encoding="utf-8")
    refused_in_one_line(lambda: make_recipe({**read_peft_config(tmp_path), "data": "d"}, "adapter"))


TURN = st.dictionaries(
    st.sampled_from(["role", "from", "content", "value", "tool_calls", "reasoning", "weight", "name", "odd"]),
    st.one_of(JSON, st.sampled_from(["user", "assistant", "gpt", "tool", "hi", "<think>a</think>b"])),
    max_size=4,
)
CELL = st.one_of(
    JSON, st.lists(TURN, max_size=3), st.sampled_from(["q", "[]", '{"a": 1}', "[[1]]", "\ud800"])
)
OPTIONAL = ["tools", "system", "history", "input", "task", "subset", "weight", "odd"]
ANY_FORMAT = st.sampled_from(BUILT_IN)


@settings(CALM, max_examples=250)
@given(data=st.data(), row_format=ANY_FORMAT, thinking=st.sampled_from(["every", "last", "none"]))
def test_odd_rows(data: Any, row_format: RowFormat, thinking: Any) -> None:
    columns = [*row_format.columns, *OPTIONAL]
    rows = [
        data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(columns, CELL)), "row") for _ in range(2)
    ]
    bad: list[tuple[int, str, str]] = []
    read = _read(list(enumerate(rows)), row_format, {}, bad)
    made = _encode(read, chat_of("chatml"), thinking, bad)
    assert {*made["row"], *(number for number, *_ in bad)} == {0, 1}, "each is learned from, or told"
    assert all(kind and reason for _, kind, reason in bad)


WORDS = st.sampled_from(
    [
        "study",
        "show",
        "run",
        "check",
        "plan",
        "compare",
        "report",
        "doctor",
        "data",
        "presets",
        "push",
        "merge",
    ]
)
FLAGS = st.sampled_from(
    [
        "--json",
        "--runs",
        "--seeds",
        "--detect",
        "--power",
        "--base",
        "--lr",
        "--max-length",
        "-n",
        "--debu",
        "--",
    ]
)
ODD = st.one_of(
    st.sampled_from(["nan", "-1", "1e999", "", ".", "/", "no.yaml", "[1]", "{"]), st.text(max_size=6)
)


@settings(CALM, max_examples=150)
@given(words=st.lists(WORDS, max_size=2), rest=st.lists(st.one_of(FLAGS, ODD), max_size=4))
def test_odd_arguments(tmp_path_factory: pytest.TempPathFactory, words: list[str], rest: list[str]) -> None:
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.chdir(tmp_path_factory.getbasetemp())
        patch.setattr("sys.argv", ["paceline", *words, *rest])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code in (0, 1, 2, None), errors.getvalue()
    assert "Traceback" not in errors.getvalue()
