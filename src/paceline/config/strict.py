"""What every part of a recipe is made of."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

# What no count, size or factor reaches; what JSON, numpy and torch all hold of a seed; what fp32 holds of a
# rate, of which the doctor says more.
LARGEST, LARGEST_SEED, LARGEST_RATE = 2**31 - 1, 2**53, 10**38
_OTHERS = {"seed": LARGEST_SEED, "resample": LARGEST_SEED, "lr": LARGEST_RATE}


class Strict(BaseModel):
    """A model that refuses keys it does not know, and numbers that are not finite or beyond all sense."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _within_sense(cls, value: Any, info: ValidationInfo) -> Any:
        most = _OTHERS.get(info.field_name or "", LARGEST)
        if _beyond(value, most):
            raise ValueError(f"a number here is at most {most:,}")
        return value


def _beyond(value: Any, most: int) -> bool:
    if isinstance(value, int | float):
        return abs(value) > most
    if isinstance(value, Mapping):
        return any(_beyond(inner, most) for inner in value.values())
    return isinstance(value, list | tuple) and any(_beyond(inner, most) for inner in value)
