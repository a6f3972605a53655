"""adapter_config.json: PEFT reads what we write, and we read what PEFT writes."""

import json
import re
from pathlib import Path

import pytest
from peft import LoraConfig, PeftConfig, TaskType

from helpers import MakeRecipe
from paceline.errors import ModelError
from paceline.model.peft_config import read_peft_config, write_peft_config

FIELDS = [
    {"lora_r": 8, "lora_alpha": 4, "lora_dropout": 0.25, "target_modules": ["q_proj", "down_proj"]},
    {"lora_r": 3, "use_rslora": True, "target_modules": r".*\.1\..*k_proj"},
]


@pytest.mark.parametrize("fields", FIELDS)
def test_peft_reads_what_we_write(fields: dict[str, object], recipe: MakeRecipe, tmp_path: Path) -> None:
    made = recipe(**fields)
    write_peft_config(tmp_path, made, [], {})
    theirs = PeftConfig.from_pretrained(str(tmp_path))
    assert isinstance(theirs, LoraConfig)
    assert theirs.task_type == TaskType.CAUSAL_LM
    assert theirs.base_model_name_or_path == made.base
    assert (theirs.r, theirs.lora_alpha, theirs.lora_dropout) == (
        made.lora_r,
        made.lora_alpha,
        made.lora_dropout,
    )
    assert theirs.use_rslora == made.use_rslora
    assert theirs.bias == "none"
    targets = made.target_modules
    assert theirs.target_modules == (targets if isinstance(targets, str) else set(targets))


@pytest.mark.parametrize("fields", FIELDS)
def test_we_read_what_we_write(fields: dict[str, object], recipe: MakeRecipe, tmp_path: Path) -> None:
    made = recipe(**fields)
    write_peft_config(tmp_path, made, [], {})
    found = read_peft_config(tmp_path)
    assert found == {name: getattr(made, name) for name in found}
    assert set(found) >= {"base", *fields}


def test_we_read_what_peft_writes(recipe: MakeRecipe, tmp_path: Path) -> None:
    LoraConfig(
        base_model_name_or_path="owner/name",
        r=6,
        lora_alpha=9,
        lora_dropout=0.5,
        target_modules=["v_proj", "k_proj"],
    ).save_pretrained(str(tmp_path))
    found = read_peft_config(tmp_path)
    assert sorted(found.pop("target_modules")) == ["k_proj", "v_proj"]
    expected = {"base": "owner/name", "lora_r": 6, "lora_alpha": 9, "lora_dropout": 0.5, "use_rslora": False}
    assert found == found | expected
    recipe(**found)


def test_fields_that_old_versions_left_out_have_pefts_defaults(tmp_path: Path) -> None:
    content = {"base_model_name_or_path": "b", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    found = read_peft_config(tmp_path)
    assert (found["lora_dropout"], found["use_rslora"]) == (0.0, False)


@pytest.mark.parametrize("content", [None, "", "{'r': 8}"])
def test_a_file_that_is_missing_or_no_json_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be read as an adapter's configuration"):
        read_peft_config(tmp_path)


PEFTS = {
    "base_model_name_or_path": "b",
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj"],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True"),
        ({"ensure_weight_tying": True}, "ensure_weight_tying is"),
        ({"target_parameters": ["w"]}, "target_parameters is"),
        ({"megatron_config": {"a": 1}}, "megatron_config is"),
        ({"eva_config": {"rho": 2}}, "eva_config is"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config is"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is"),
        ({"use_qalora": True}, "use_qalora is True"),
        ({"kept_from_a_later_version": 1}, "kept_from_a_later_version is 1"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'"),
        ({"init_lora_weights": 1}, "init_lora_weights is 1"),
        ({"revision": "v2"}, "revision is 'v2'"),
        ({"r": 10**9}, "r is 1000000000, more than any matrix"),
        ({"rank_pattern": {"q_proj": 10**9}}, "rank_pattern 'q_proj' is 1000000000, more than"),
        ({"r": 0}, "r is 0, expected more than 0"),
        ({"r": "8"}, "r is '8', expected a whole number"),
        ({"r": True}, "r is True, expected a whole number"),
        ({"r": None}, "r is None"),
        ({"lora_alpha": -16}, "lora_alpha is -16, expected more than 0"),
        ({"lora_alpha": 1.5}, "lora_alpha is 1.5, expected a whole number"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf"),
        ({"alpha_pattern": {"q_proj": -1}}, "alpha_pattern 'q_proj' is -1"),
        ({"alpha_pattern": [1]}, "alpha_pattern is"),
        ({"base_model_name_or_path": None}, "names no base"),
        ({"target_modules": []}, "names no module"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(PEFTS))
    read_peft_config(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(PEFTS | change))
    with pytest.raises(ModelError, match=re.escape(said)):
        read_peft_config(tmp_path)


@pytest.mark.parametrize("missing", ["r", "lora_alpha", "target_modules", "base_model_name_or_path"])
def test_a_missing_field_is_named(missing: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({name: value for name, value in PEFTS.items() if name != missing})
    )
    with pytest.raises(ModelError, match=f"'{missing}' is missing"):
        read_peft_config(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "null", "[" * 100_000, '{"r": "\\ud800"', "\x00"])
def test_json_that_is_no_configuration_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be read as an adapter's configuration"):
        read_peft_config(tmp_path)
