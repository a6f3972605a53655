"""What every part of a recipe is made of."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

# What no count, size or factor reaches; what JSON, numpy and torch all hold of a seed.
LARGEST, LARGEST_SEED = 2**31 - 1, 2**53
_SEEDS = ("seed", "resample")


class Strict(BaseModel):
    """A model that refuses keys it does not know, and numbers that are not finite or beyond all sense."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _within_sense(cls, value: Any, info: ValidationInfo) -> Any:
        most = LARGEST_SEED if info.field_name in _SEEDS else LARGEST
        if _beyond(value, most):
            raise ValueError(f"a number here is at most {most:,}")
        return value


def _beyond(value: Any, most: int) -> bool:
    if isinstance(value, int | float):
        return abs(value) > most
    if isinstance(value, Mapping):
        return any(_beyond(inner, most) for inner in value.values())
    return isinstance(value, list | tuple) and any(_beyond(inner, most) for inner in value)
