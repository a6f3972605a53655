"""Odd fields of studies and recipes: each file is read, or refused in one line."""

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
