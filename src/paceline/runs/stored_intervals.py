"""Intervals and differences as results have them on disk: a figure that is not finite is null."""

import math
from dataclasses import asdict
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from paceline.runs.files import JsonObject
from paceline.stats.intervals import Interval
from paceline.stats.paired import Difference


def _bounds_for_null(fields: object) -> object:
    """A figure that is not finite is null on disk."""
    if not isinstance(fields, dict):
        return fields
    missing = {"value": math.nan, "delta": math.nan, "low": -math.inf, "high": math.inf}
    renamed = {"delta" if name == "value" and "better" in fields else name: v for name, v in fields.items()}
    return {
        name: missing[name] if value is None else value for name, value in renamed.items() if name in _KNOWN
    }


_KNOWN = {"value", "delta", "low", "high", "n", "observations", "better", "left_out"}


def _null_for_infinite(fields: JsonObject) -> JsonObject:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }


def _difference_fields(difference: Difference) -> JsonObject:
    fields = asdict(difference)
    return _null_for_infinite({"value": fields.pop("delta"), **fields, "verdict": difference.verdict})


def _rating_fields(difference: Difference) -> JsonObject:
    return {**_difference_fields(difference), "graded": difference.observations}


StoredInterval = Annotated[
    Interval, BeforeValidator(_bounds_for_null), PlainSerializer(lambda i: _null_for_infinite(asdict(i)))
]
StoredDifference = Annotated[
    Difference, BeforeValidator(_bounds_for_null), PlainSerializer(_difference_fields)
]
RatingDifference = Annotated[Difference, BeforeValidator(_bounds_for_null), PlainSerializer(_rating_fields)]
