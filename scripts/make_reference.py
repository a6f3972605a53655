"""Writes docs/reference/fields.md: every field of a recipe, from the schema itself."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from paceline.config.recipe import Recipe

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "fields.md"
HEAD = """\
# Fields of a recipe

Made by `scripts/make_reference.py`; do not edit. Each is a line of a recipe or study file, and a flag of
`paceline train`. Fields of a section are written below it (`data: {source: rows.jsonl}`). What belongs
together is told in [recipes and studies](../studies.md), [data](../data.md) and [training](../training.md).
"""


def page() -> str:
    return HEAD + "".join(_section(name, model) for name, model in _models("", Recipe).items())


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


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
