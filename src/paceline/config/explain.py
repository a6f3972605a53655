"""What is wrong with a configuration, in one line."""

from collections.abc import Iterable
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from paceline.config.fields import model_at
from paceline.errors import nearest


def explain(error: ValidationError, model: type[BaseModel], other_names: Iterable[str] = ()) -> str:
    """The first fault that pydantic reports: the field, its value and what is wrong with it.

    Args:
        other_names: names by which the outermost fields may be given too, proposed for unknown ones.
    """
    fault = _first_fault(error)
    path, owner = _field_path(fault, model)
    field = ".".join(path)
    if fault["type"] == "extra_forbidden":
        known = [*owner.model_fields, *(other_names if len(path) == 1 else ())]
        return f"unknown field {field!r}{nearest(path[-1], known)}"
    if fault["type"] == "missing":
        if model_at(model, tuple(path[:-1])) is None:
            return f"field {field!r} is missing"
        if field in ("data", "data.source"):
            return (
                "no data is named; give a JSONL, JSON, Parquet, CSV or TSV file or a hub data set id "
                "as --data, or in the file as `data`"
            )
        option = field.replace("_", "-").replace(".", "-")
        return f"field {field!r} is missing; give it in the file or as --{option}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not field:
        return message
    return f"field {field!r} is {_shown(fault['input'])}: {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _first_fault(error: ValidationError) -> Any:
    """The first fault.

    Of a union's, one of the alternative that got furthest, and there a misspelt field before a missing one.
    """
    faults = error.errors()
    same_field = [fault for fault in faults if fault["loc"][:1] == faults[0]["loc"][:1]]
    return max(same_field, key=lambda fault: (len(fault["loc"]), fault["type"] == "extra_forbidden"))


def _field_path(fault: Any, model: type[BaseModel]) -> tuple[list[str], type[BaseModel]]:
    """(names on the way to the field, the model it belongs to)."""
    path: list[str] = []
    owner, annotation = model, cast(Any, model)
    for place, part in enumerate(fault["loc"], 1):
        inside = _models_in(annotation)
        holder = next((candidate for candidate in inside if part in candidate.model_fields), None)
        if holder is not None:
            owner, annotation = holder, holder.model_fields[part].annotation
            path.append(part)
        elif isinstance(part, int) or get_origin(annotation) is dict:
            path.append(str(part))
        elif fault["type"] == "extra_forbidden" and place == len(fault["loc"]) and inside:
            owner = inside[0]
            path.append(part)
        # else: pydantic's name of an alternative in a union, which no user has written
    return path, owner


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models anywhere in an annotation such as `KL | None` or `tuple[MixtureComponent, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
