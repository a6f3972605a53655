"""YAML from people and strangers: no key twice, and no more of it than a study can need."""

import re
from pathlib import Path
from typing import Any

import yaml

from paceline.config.fields import Fields
from paceline.errors import ConfigError

# A study of 2,000 runs has a tenth of these.
MOST_BYTES = 16 * 2**20
MOST_VALUES = 1_000_000
DEEPEST = 50
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.1's reader takes 2e-5 for text; this one takes it for the number that it is."""

    def get_single_data(self) -> Any:
        node = self.get_single_node()
        if node is None:
            return None
        _count(node, {}, 1)
        return self.construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            raise _Refusal(f"this is no {kind}; text goes in quotes", node) from error
        if isinstance(value, int) and value.bit_length() > 256:  # Python writes no number of 4,300 digits
            raise _Refusal("a whole number of more than 77 digits", node)
        return value


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


class _Refusal(yaml.MarkedYAMLError):
    """What is YAML, but not taken here."""

    def __init__(self, problem: str, node: yaml.Node) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


def _count(node: yaml.Node, counted: dict[int, int], depth: int) -> int:
    """How many values a node stands for, its aliases spelled out.

    Args:
        counted: those of nodes that are done; 0 for one whose inside is being counted.

    Raises:
        _Refusal: too many or too deep, an alias within itself, a key twice or one that is no text.
    """
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in counted:
        if not counted[id(node)]:
            raise _Refusal("an alias stands within what it stands for", node)
        return counted[id(node)]
    if depth > DEEPEST:
        raise _Refusal(f"nested more than {DEEPEST} deep", node)
    counted[id(node)] = 0
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        inside = [value for _, value in node.value]
    else:
        inside = node.value
    values = 1 + sum(_count(inner, counted, depth + 1) for inner in inside)
    if values > MOST_VALUES:
        raise _Refusal(f"more than {MOST_VALUES:,} values, with its aliases spelled out", node)
    counted[id(node)] = values
    return values


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag not in (_TEXT, _MERGE) or not isinstance(key, yaml.ScalarNode):
            said = f"key {key.value}" if isinstance(key, yaml.ScalarNode) else "a key"
            raise _Refusal(f"{said[:60]} is no text; put it in quotes", key)
        if key.value in lines:
            raise _Refusal(f"key {key.value[:60]!r} is there twice, first in line {lines[key.value]}", key)
        lines[key.value] = key.start_mark.line + 1


def parse_yaml(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        ConfigError: not valid YAML, or more than this module takes.
    """
    said = repr(text) if len(text) <= 200 else f"{text[:200]!r}…"
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{said} is not valid YAML ({_problem(error)})") from error
    except (UnicodeEncodeError, RecursionError) as error:
        raise ConfigError(f"{said} is not valid YAML (no text, or nested too deeply)") from error


def read_yaml(path: Path) -> Fields:
    """The mapping in a YAML file.

    Raises:
        ConfigError: a missing file, broken YAML, more than this module takes, anything that is no mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason}); check the path") from error
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path}: more than {MOST_BYTES // 2**20} MiB; is it a recipe or study?")
    try:
        value = yaml.load(content.decode("utf-8-sig"), _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML ({_problem(error)})") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path} line {line}: not text in UTF-8; is it damaged?") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a mapping of fields, found {type(value).__name__}")
    return value


def _problem(error: yaml.YAMLError) -> str:
    return " ".join(str(getattr(error, "problem", None) or error).split())


def in_line(value: Any) -> str:
    """A value as YAML on one line, as it stands in a file behind a key or on the command line."""
    return yaml.safe_dump(
        value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    ).partition("\n")[0]
