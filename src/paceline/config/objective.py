"""Terms of the loss beside the cross-entropy: the KL anchor and distillation."""

from typing import Literal

from pydantic import Field

from paceline.config.strict import Strict

Quantize = Literal["none", "nf4", "nf4-double", "fp4", "int8"]
FOUR_BIT = ("nf4", "nf4-double", "fp4")


class KL(Strict):
    """A KL anchor to the bare base, as a term of the loss."""

    coef: float = Field(0.0, ge=0, description="weight of the mean KL divergence")
    start_step: int = Field(0, ge=0, description="step from which it counts")
    warmup_steps: int = Field(0, ge=0, description="steps over which the weight then rises to coef")
    tail: int | None = Field(
        None, gt=0, description="only this many supervised positions at the end of a sequence; default: all"
    )
    direction: Literal["adapter-base", "base-adapter"] = Field(
        "adapter-base", description="KL(adapter ‖ base), or KL(base ‖ adapter)"
    )
    measure: bool = Field(False, description="log the mean KL even where its weight is 0")


class Distill(Strict):
    """Learning from a larger model's distribution beside the labels."""

    teacher: str = Field(description="hub id or folder of a model with the same vocabulary")
    weight: float = Field(
        0.5, ge=0, le=1, description="share of the teacher's term; the labels have the rest"
    )
    temperature: float = Field(1.0, gt=0, description="temperature of both distributions")
    quantize: Quantize = Field("none", description="how the teacher's weights are stored")
