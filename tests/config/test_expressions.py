"""Regular expressions of files, which cost nothing before they are matched."""

import pytest
import regex

from paceline.config.expressions import compile_expression
from paceline.config.load import make_recipe
from paceline.errors import ConfigError


@pytest.mark.parametrize(
    "expression",
    [
        "((a{1000}){1000}){1000}",
        "(x{,65535}){2}",
        "a" * 1001,
        "(" * 400 + "a" + ")" * 400,
        "[",
        "(?P<n>a)(?P<n",
    ],
)
def test_what_would_need_much_memory_is_refused(expression: str) -> None:
    """The first one takes 4 GB to compile."""
    with pytest.raises(ValueError, match=r"simpler|over 1,000 characters|no regular expression"):
        compile_expression(expression)
    with pytest.raises(ConfigError, match="target_modules: "):
        make_recipe({"base": "b", "data": "d", "target_modules": expression}, "recipe.yaml")


@pytest.mark.parametrize(
    "expression", [r".*\.(q|v)_proj", r"model\.layers\.\d{1,2}\.mlp\..*", r"x{3}y{4,}z{,5}"]
)
def test_others_are_compiled_as_they_are(expression: str) -> None:
    assert compile_expression(expression) == regex.compile(expression)
