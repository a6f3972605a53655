"""YAML that a person mistyped or a stranger made: one line with its place, in no time."""

from pathlib import Path

import pytest

from paceline.config.yaml_text import MOST_BYTES, parse_yaml, read_yaml
from paceline.errors import ConfigError

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 12)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 8)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "lr: 1\nbase: b\nlr: 2\n",
            " line 3: not valid YAML (key 'lr' is there twice, first in line 1)",
        ),
        ("data:\n  n: 1\n  source: a\n  n: 2\n", " line 4: not valid YAML (key 'n' is there twice"),
        ("runs:\n- {name: a, lr: 1, name: b}\n", " line 2: not valid YAML (key 'name' is there twice"),
        (LAUGHS, "values, with its aliases spelled out"),
        (MERGED, "values, with its aliases spelled out"),
        ("a: &a [*a]\n", " line 1: not valid YAML (an alias stands within what it stands for"),
        ("a: " + "[" * 60 + "]" * 60, " line 1: not valid YAML (nested more than 50 deep"),
        ("a: " + "[" * 100_000, "exceeded maximum nesting depth"),
        ("a: 1\n1: b\n", " line 2: not valid YAML (key 1 is no text; put it in quotes"),
        ("a: 1\n? [x]\n: b\n", " line 2: not valid YAML (a key is no text"),
        ("a: 1\nb: 2024-13-99\n", " line 2: not valid YAML (this is no timestamp; text goes in quotes"),
        ("a: !!int x\n", " line 1: not valid YAML (this is no int"),
        ("a: 0x" + "f" * 10_000, " line 1: not valid YAML (a whole number of more than 77 digits"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("a: \x00\n", "control characters are not allowed"),
        ("- a\n", "expected a mapping of fields, found list"),
    ],
)
def test_odd_yaml_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "r.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    if not text.startswith("- "):
        with pytest.raises(ConfigError):
            parse_yaml(text)


def test_files_that_are_no_text_or_far_too_long(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"r\.yaml line 2: not text in UTF-8"):
        read_yaml(path)
    with path.open("wb") as file:
        file.truncate(100 * MOST_BYTES)
    with pytest.raises(ConfigError, match="more than 16 MiB"):
        read_yaml(path)


def test_aliases_and_merges_that_stay_small_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("\ufeffa: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n", encoding="utf-8")
    a = {"x": 1, "y": 2}
    assert read_yaml(path) == {"a": a, "b": {"x": 1, "y": 3}, "c": [a, a]}
