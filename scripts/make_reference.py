"""Writes docs/reference: the fields of a recipe, the commands and the Python API, from the code itself.

python scripts/make_reference.py
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import paceline
from paceline.cli.main import app
from paceline.config.recipe import Recipe

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
FIELDS_HEAD = """\
# Fields of a recipe

Made by `scripts/make_reference.py`; do not edit. Each is a line of a recipe or study file, and a flag of
`paceline train`. Fields of a section are written below it (`data: {source: rows.jsonl}`). What belongs
together is told in [recipes and studies](../studies.md), [data](../data.md) and [training](../training.md).
"""
COMMANDS_HEAD = """\
# Commands and flags

Made by `scripts/make_reference.py`; do not edit. `paceline COMMAND --help` shows the same on a terminal.
Words of a flag may be joined by `_` too (`--lora_r`), `--debug` anywhere shows the traceback behind an
error, and [exit codes](../reliability.md) are the same everywhere.
"""
PYTHON_HEAD = """\
# Python API

Made by `scripts/make_reference.py`; do not edit. All of it is there after `import paceline`; [from
Python](../python.md) is the guide. What begins with `_`, and every module below `paceline`, may change.
"""


def fields() -> str:
    return FIELDS_HEAD + "".join(_section(name, model) for name, model in _models("", Recipe).items())


def _models(name: str, model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """A schema and all that its fields hold, by the dotted name of the field."""
    found = {name: model}
    for key, field in model.model_fields.items():
        for inner in _parts(field.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found |= _models(f"{name}.{key}".strip("."), inner)
    return found


def _parts(annotation: Any) -> list[Any]:
    """The types that a field may have, without containers and unions."""
    inner = [part for part in get_args(annotation) if part is not type(None)]
    return [leaf for part in inner for leaf in _parts(part)] if inner else [annotation]


def _section(name: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{key}` | {_type(field.annotation)} | {_default(field)} | {_cell(field.description or '')} |"
        for key, field in model.model_fields.items()
    ]
    title = f"\n## `{name}`\n" if name else "\n## The recipe itself\n"
    return "\n".join([title, "| field | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def _type(annotation: Any) -> str:
    """A type in words, without the bounds that its error message tells."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_type, inner)))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (list, tuple):
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"{_type(inner[0])}: {_type(inner[1])}"
    if annotation is type(None):
        return "none"
    if issubclass(annotation, BaseModel):
        return "section"
    return {str: "text", int: "integer", float: "number", bool: "true, false"}[annotation]


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "–" if field.default_factory is None else "see its section"
    return _cell(f"`{field.default}`") if not isinstance(field.default, BaseModel) else "see its section"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def commands() -> str:
    parser = typer.main.get_command(app)
    return COMMANDS_HEAD + "".join(_command(name, command) for name, command in _leaves("paceline", parser))


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """All commands below one, with their whole names."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for key, child in (inner or {}).items():
        yield from _leaves(f"{name} {key}", child)


def _command(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    usage = command.get_usage(context).removeprefix("Usage: ")
    shown = [parameter for parameter in command.params if not parameter.hidden]
    panels = dict.fromkeys(parameter.rich_help_panel for parameter in shown)
    tables = [
        (f"\n**{panel}**\n" if panel else "")
        + "\n| argument or flag | meaning |\n|---|---|\n"
        + "".join(_parameter(p.get_help_record(context)) for p in shown if p.rich_help_panel == panel)
        for panel in panels
    ]
    others = ", ".join(f"`{p.opts[0]}`" for p in command.params if p.hidden)
    also = f"\nUnderstood as other tools have it: {others}.\n" if others else ""
    text = textwrap.dedent(inspect.cleandoc(command.help))
    return f"\n## {name}\n\n```text\n{' '.join(usage.split())}\n```\n\n{text}\n{''.join(tables)}{also}"


def _parameter(record: tuple[str, str]) -> str:
    return f"| `{_cell(record[0])}` | {_cell(' '.join(record[1].split()))} |\n"


def python_api() -> str:
    objects = {name: getattr(paceline, name) for name in paceline.__all__ if name != "__version__"}
    kinds: dict[str, list[str]] = {"Functions": [], "Classes": [], "Events of a log": [], "Errors": []}
    for name, value in objects.items():
        is_error = inspect.isclass(value) and issubclass(value, Exception)
        is_event = name.endswith("Event")
        kind = "Errors" if is_error else "Events of a log" if is_event else "Classes"
        kinds[kind if inspect.isclass(value) else "Functions"].append(name)
    return PYTHON_HEAD + "".join(
        f"\n## {kind}\n" + "".join(_documented(name, objects[name]) for name in names)
        for kind, names in kinds.items()
    )


def _documented(name: str, value: Any) -> str:
    text = f"\n### {name}\n\n"
    if not inspect.isclass(value):
        return text + f"```python\npaceline.{_signature(_tree(value))}\n```\n\n{_prose(value)}\n"
    members = {} if value is Recipe else _members(value)
    more = "\nIts fields: [fields of a recipe](fields.md).\n" if value is Recipe else ""
    listed = "".join(f"- {member}\n" for member in members.values())
    return text + _prose(value) + "\n" + more + (f"\n{listed}" if listed else "")


def _members(value: type) -> dict[str, str]:
    """The public fields and methods of a class and of its bases here, in their order; one line each."""
    found: dict[str, str] = {}
    said: dict[str, str] = {}  # by the class that overrides a method, or by the one that began it
    for own in reversed(value.__mro__):
        if not own.__module__.startswith("paceline"):
            continue
        for node in _tree(own).body:
            if isinstance(node, ast.AnnAssign) and not _text(node.target).startswith("_"):
                found[_text(node.target)] = f"`{_text(node)}`"
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                name, first = node.name, (ast.get_docstring(node) or "").split("\n\n")[0]
                said[name] = " ".join(first.split()) or said.get(name, "")
                found[name] = f"`{_signature(node)}`" + (f": {said[name]}" if said[name] else "")
    return found


def _tree(value: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]


def _text(node: ast.AST) -> str:
    return re.sub(r"\s+", " ", ast.unparse(node))


def _signature(node: ast.FunctionDef) -> str:
    """As it is called: without self, a property as an attribute."""
    result = f" -> {_text(node.returns)}" if node.returns and _text(node.returns) != "None" else ""
    if any("property" in _text(decorator) for decorator in node.decorator_list):
        return node.name + result.replace(" ->", ":")
    given = re.sub(r"^(self|cls)(, )?", "", _text(node.args))
    return f"{node.name}({given}){result}"


def _prose(value: Any) -> str:
    """A docstring as Markdown: its sections of arguments and errors as lists, all else as it is."""
    text = re.sub("^    ", "", ast.get_docstring(_tree(value), clean=False) or "", flags=re.MULTILINE)
    section = re.compile(r"^(Args|Returns|Raises|Attributes):\n((?:    .*\n?)+)", re.MULTILINE)

    def listed(found: re.Match[str]) -> str:
        body = textwrap.dedent(found[2])
        if found[1] == "Returns":
            return f"**Returns**: {body}"
        return f"**{found[1]}**\n\n" + re.sub(r"^([\w, .]+): ", r"- `\1`: ", body, flags=re.MULTILINE)

    return section.sub(listed, text).strip()


PAGES: dict[str, Callable[[], str]] = {
    "fields.md": fields,
    "commands.md": commands,
    "python-api.md": python_api,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
