"""Odd fields of studies, recipes and adapters: each file is read, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.api.loading import as_study
from paceline.config.aliases import all_names
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
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
