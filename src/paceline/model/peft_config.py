"""PEFT's adapter_config.json: written from a recipe, and read back as a recipe's fields."""

import json
from pathlib import Path
from typing import Any

from paceline.config.recipe import Recipe
from paceline.errors import ModelError


def write_peft_config(folder: Path, recipe: Recipe) -> None:
    """Writes the file as PEFT does.

    By hand: importing PEFT brings torch's compiler, seconds of every start.
    """
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": recipe.base,
        "inference_mode": True,
        "r": recipe.lora_r,
        "lora_alpha": recipe.lora_alpha,
        "lora_dropout": recipe.lora_dropout,
        "use_rslora": recipe.use_rslora,
        "target_modules": recipe.target_modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")


def read_peft_config(folder: Path) -> dict[str, Any]:
    """The recipe fields that an adapter's configuration fixes: base, rank, alpha, dropout, targets.

    Raises:
        ModelError: no such file, not JSON, or a field is missing.
    """
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text())
        return {
            "base": config["base_model_name_or_path"],
            "lora_r": config["r"],
            "lora_alpha": config["lora_alpha"],
            "lora_dropout": config.get("lora_dropout", 0.0),
            "use_rslora": config.get("use_rslora", False),
            "target_modules": config["target_modules"],
        }
    except KeyError as error:
        raise ModelError(f"{path}: not an adapter's configuration: {error} is missing") from error
    except (OSError, json.JSONDecodeError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read as an adapter's configuration ({error})") from error
