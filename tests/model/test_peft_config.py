"""adapter_config.json: PEFT reads what we write, and we read what PEFT writes."""

import json
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
    write_peft_config(tmp_path, made, [])
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
    write_peft_config(tmp_path, made, [])
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
