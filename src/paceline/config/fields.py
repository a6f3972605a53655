"""A model's fields as paths: what alternative names and command-line options are made from."""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

# Fields of a file or of flags, by name, before a model has checked them.
Fields = dict[str, Any]
# A field by the names on the way to it: ("data", "seed").
FieldPath = tuple[str, ...]


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union without None; anything else is its own only member."""
    if get_origin(annotation) in (Union, UnionType):
        return tuple(member for member in get_args(annotation) if member is not type(None))
    return (annotation,)


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that holds one or nothing: `KL` and `KL | None`, but not `int | BatchRamp`."""
    alternatives = members(annotation)
    if (
        len(alternatives) == 1
        and isinstance(alternatives[0], type)
        and issubclass(alternatives[0], BaseModel)
    ):
        return alternatives[0]
    return None


def leaves(model: type[BaseModel], parents: FieldPath = ()) -> Iterator[tuple[FieldPath, FieldInfo]]:
    """Every field that holds a value of its own, in the model's order, nested ones by their whole path."""
    for name, field in model.model_fields.items():
        if inner := nested_model(field.annotation):
            yield from leaves(inner, (*parents, name))
        else:
            yield (*parents, name), field


def model_at(model: type[BaseModel], path: FieldPath) -> type[BaseModel] | None:
    """The nested model that a path leads to; None where it leads to a value or nowhere."""
    reached: type[BaseModel] | None = model
    for name in path:
        field = reached.model_fields.get(name) if reached else None
        reached = nested_model(field.annotation) if field else None
    return reached
