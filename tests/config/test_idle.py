"""Settings that change nothing: each is said where it is idle, and nowhere else."""

from typing import Any

import pytest

from paceline.config.idle import CONDITIONS, idle_settings
from paceline.config.load import make_recipe

# field -> (its setting, what makes it idle, what makes it count)
CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("num_cycles", {"num_cycles": 3}, {}, {"lr_scheduler": "cosine_with_restarts"}),
    ("power", {"power": 2.0}, {}, {"lr_scheduler": "polynomial"}),
    ("decay_ratio", {"decay_ratio": 0.2}, {}, {"lr_scheduler": "warmup_stable_decay"}),
    ("min_lr_ratio", {"min_lr_ratio": 0.1}, {"lr_scheduler": "linear"}, {"lr_scheduler": "polynomial"}),
    ("warmup_ratio", {"warmup_ratio": 0.2}, {"lr_scheduler": "constant"}, {}),
    ("warmup_steps", {"warmup_steps": 9}, {"lr_scheduler": "constant"}, {}),
    ("llm_int8_threshold", {"llm_int8_threshold": 3.0}, {"quantize": "nf4"}, {"quantize": "int8"}),
    ("compute_dtype", {"compute_dtype": "bfloat16"}, {"quantize": "int8"}, {"quantize": "fp4"}),
    ("use_rslora", {"use_rslora": True}, {"lora_r": 1}, {"lora_r": 1, "rank_pattern": {"q_proj": 2}}),
    ("init_lora_weights", {"init_lora_weights": "gaussian"}, {"init_from": "a"}, {}),
    ("early_stop_min_delta", {"early_stop_min_delta": 0.1}, {}, {"early_stop_patience": 2, "eval_steps": 5}),
    ("track_project", {"track_project": "p"}, {"track": "tensorboard"}, {"track": "trackio"}),
    ("track_space", {"track_space": "u/s"}, {"track": "wandb"}, {"track": "trackio"}),
    ("kl.tail", {"kl": {"tail": 3}}, {}, {"kl": {"measure": True}}),
    ("kl.direction", {"kl": {"direction": "base-adapter"}}, {}, {"kl": {"coef": 0.1}}),
    ("kl.start_step", {"kl": {"start_step": 3}}, {"kl": {"measure": True}}, {"kl": {"coef": 0.1}}),
    ("kl.warmup_steps", {"kl": {"warmup_steps": 3}}, {}, {"kl": {"coef": 0.1}}),
    ("distill.teacher", {"distill": {"teacher": "t"}}, {"distill": {"weight": 0}}, {}),
    (
        "distill.temperature",
        {"distill": {"teacher": "t", "temperature": 2.0}},
        {"distill": {"weight": 0}},
        {},
    ),
    ("distill.quantize", {"distill": {"teacher": "t", "quantize": "nf4"}}, {"distill": {"weight": 0}}, {}),
    *(
        (
            f"eval.mtbench.{field}",
            {"eval": {"mtbench": {field: value}}},
            {},
            {"eval": {"mtbench": {"judge": judge}}},
        )
        for field, value, judge in (
            ("judge_model", "m", "reward"),
            ("judge_url", "http://x", "openai"),
            ("judge_price", (1.0, 2.0), "openai"),
            ("judge_prompts", "f", "local"),
        )
    ),
    *(
        (
            f"eval.mtbench.during.{field}",
            {"eval": {"mtbench": {"during": {"steps": 5, field: 0.2}}}},
            {},
            {"eval": {"mtbench": {"during": {"patience": 2}}}},
        )
        for field in ("floor", "min_delta")
    ),
    ("eval.code.top_p", {"eval": {"code": {"top_p": 0.5}}}, {}, {"eval": {"code": {"temperature": 1.0}}}),
]


def laid_over(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both else value
    return merged


def said(*layers: dict[str, Any]) -> list[str]:
    fields: dict[str, Any] = {"base": "b", "data": "d"}
    for layer in layers:
        fields = laid_over(fields, layer)
    return [line.split(" ")[0] for line in idle_settings(make_recipe(fields, "test"))]


@pytest.mark.parametrize(("field", "setting", "idle", "counting"), CASES)
def test_a_setting_is_said_where_it_changes_nothing_and_only_there(
    field: str, setting: dict[str, Any], idle: dict[str, Any], counting: dict[str, Any]
) -> None:
    assert field in said(setting, idle)
    assert field not in said(setting, counting)


def test_every_condition_has_a_case() -> None:
    assert {condition.field for condition in CONDITIONS} == {field for field, *_ in CASES}


def test_a_plain_recipe_has_none() -> None:
    assert said() == []
