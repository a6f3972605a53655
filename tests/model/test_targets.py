"""Targets by name: as PEFT matches them (see also parity/test_peft_adapters), and never for long."""

import time
from typing import Any

import pytest

from helpers import MakeRecipe
from paceline.errors import ModelError
from paceline.model.base import Base


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target_modules": r"(.|..|...)*(?<=7)"}, "target_modules: .*takes too long"),
        ({"rank_pattern": {r"(.|..|...)*(?<=7)": 3}}, "rank_pattern: .*takes too long"),
        ({"alpha_pattern": {"[": 3}}, "alpha_pattern: .* is no regular expression"),
        ({"rank_pattern": {"q_prj": 3}}, "rank_pattern: 'q_prj' fits none"),
        ({"exclude_modules": ["x_proj"]}, "exclude_modules: no linear 'x_proj'"),
        ({"exclude_modules": ".*"}, "no linear of .* is left"),
        ({"layers_to_transform": [7]}, "has no layer 7"),
        (
            {"target_modules": ["embed_tokens"], "use_dora": True},
            "embed_tokens .* plain LoRA only, not use_dora",
        ),
        (
            {"target_modules": ["lm_head"], "init_lora_weights": "pissa"},
            "plain LoRA only, not init_lora_weights",
        ),
        ({"target_modules": ["lm_head"], "loraplus_lr_ratio": 4.0}, "plain LoRA only, not loraplus_lr_ratio"),
        ({"target_modules": ["wte"]}, "no linear 'wte' in .* there are .*embed_tokens.*lm_head"),
    ],
)
def test_what_fits_nothing_or_takes_too_long_is_refused(
    fields: dict[str, Any], said: str, loaded_base: Base, recipe: MakeRecipe
) -> None:
    began = time.monotonic()
    with pytest.raises(ModelError, match=said):
        loaded_base.targets(recipe(**fields))
    assert time.monotonic() - began < 30
