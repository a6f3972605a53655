"""PEFT's adapter_config.json: written from a recipe, and read back as a recipe's fields."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paceline.config.recipe import MAX_RANK, Recipe
from paceline.errors import ModelError
from paceline.model.initialization import takes_from_base
from paceline.model.targets import ALL_LINEAR
from paceline.runs.files import read_json

# PEFT's name of a setting -> the recipe's field, and what stands for it where the file has none.
_FIELDS: dict[str, tuple[str, Any]] = {
    "lora_dropout": ("lora_dropout", 0.0),
    "use_rslora": ("use_rslora", False),
    "use_dora": ("use_dora", False),
    "exclude_modules": ("exclude_modules", None),
    "layers_to_transform": ("layers_to_transform", None),
    "layers_pattern": ("layers_pattern", None),
    "rank_pattern": ("rank_pattern", {}),
    "alpha_pattern": ("alpha_pattern", {}),
    "trainable_token_indices": ("trainable_token_indices", None),
    "modules_to_save": ("modules_to_save", None),
}
# What changes nothing of what an adapter computes.
_IDLE = {
    "auto_mapping",
    "inference_mode",
    "peft_version",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
}
# What has one meaning here.
_ONLY: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": ("CAUSAL_LM", None),
    "bias": ("none",),
    "revision": (None, "main"),
    # the other starts (pissa, olora, corda, loftq) change the base's weights beside the adapter
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal"),
}


# The part of a name that says that a linear belongs to the text tower of a model with several.
_TEXT_TOWER = ".language_model."


def write_peft_config(
    folder: Path, recipe: Recipe, names: Sequence[str], rows: Mapping[str, list[int]]
) -> None:
    """Writes the file as PEFT does.

    `names` are the adapted linears', `rows` the tokens whose rows are trained, by the embeddings' or output
    projection's name.

    By hand: importing PEFT brings torch's compiler, seconds of every start.
    """
    stored = as_stored(recipe)
    targets = recipe.target_modules
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        targets = sorted({name.rsplit(".", 1)[-1] for name in names})  # not every reader knows the word
    if any(_TEXT_TOWER in name for name in names):
        targets = list(names)  # by its last part a name would be matched in the other towers too
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": recipe.base,
        "inference_mode": True,
        "r": stored["lora_r"],
        "lora_alpha": stored["lora_alpha"],
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        **{theirs: stored[ours] for theirs, (ours, _) in _FIELDS.items()},
    }
    if recipe.new_tokens:  # whose numbers the recipe does not know
        config["trainable_token_indices"] = {name.rsplit(".", 1)[-1]: ids for name, ids in rows.items()}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")


def as_stored(recipe: Recipe) -> dict[str, Any]:
    """The adapter's fields as its files have them: those of PiSSA and OLoRA hold twice the ranks.

    The alphas are doubled too, so every scale stays what it is.
    """
    times = 2 if takes_from_base(recipe.init_lora_weights) else 1
    return {
        **{ours: getattr(recipe, ours) for ours, _ in _FIELDS.values()},
        "lora_r": times * recipe.lora_r,
        "lora_alpha": times * recipe.lora_alpha,
        "rank_pattern": {key: times * rank for key, rank in recipe.rank_pattern.items()},
        "alpha_pattern": {key: times * alpha for key, alpha in recipe.alpha_pattern.items()},
    }


def read_peft_config(folder: Path) -> dict[str, Any]:
    """The recipe fields that an adapter's configuration fixes: base, rank, alpha, dropout, targets.

    Raises:
        ModelError: no such file, not JSON, a field that is missing or makes no sense, or one that asks for
            what is not done here: the adapter would compute something else than it was trained to.
    """
    path = folder / "adapter_config.json"
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as an adapter's configuration ({error})") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: cannot be read as an adapter's configuration: it is no JSON object")
    try:
        return _read(config)
    except KeyError as error:
        raise ModelError(f"{path}: not an adapter's configuration: {error} is missing") from error
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def _read(config: dict[str, Any]) -> dict[str, Any]:
    known = {"base_model_name_or_path", "r", "lora_alpha", "target_modules", *_FIELDS, *_ONLY, *_IDLE}
    for name, accepted in _ONLY.items():
        given = config.get(name, accepted[0])
        if not any(given == one and type(given) is type(one) for one in accepted):
            raise ValueError(f"{name} is {_short(given)}; adapters with it are not supported")
    for name, value in config.items():
        if name not in known and value not in (None, False, [], {}, ""):
            raise ValueError(f"{name} is {_short(value)}; adapters with it are not supported")
    fields = {ours: config.get(theirs, missing) for theirs, (ours, missing) in _FIELDS.items()}
    for name in ("rank_pattern", "alpha_pattern"):
        fields[name] = fields[name] or {}
    for name in ("layers_to_transform", "layers_pattern", "exclude_modules", "modules_to_save"):
        fields[name] = None if fields[name] in ([], "") else fields[name]
    _check_numbers(config, fields)
    base, targets = config["base_model_name_or_path"], config["target_modules"]
    if not isinstance(base, str) or not base:
        raise ValueError("base_model_name_or_path names no base")
    if not targets:
        raise ValueError("target_modules names no module")
    return {
        "base": base,
        "lora_r": config["r"],
        "lora_alpha": int(config["lora_alpha"]),
        "target_modules": targets,
        **fields,
    }


def _check_numbers(config: dict[str, Any], fields: dict[str, Any]) -> None:
    """Ranks are whole and of a size that a matrix can have; alphas are whole and positive."""
    for name, pattern, value in (
        ("r", "rank_pattern", config["r"]),
        ("lora_alpha", "alpha_pattern", config["lora_alpha"]),
    ):
        if not isinstance(fields[pattern], dict):
            raise ValueError(f"{pattern} is {_short(fields[pattern])}, expected an object")
        values = {name: value, **{f"{pattern} {key!r}": one for key, one in fields[pattern].items()}}
        for what, number in values.items():
            if isinstance(number, bool) or not isinstance(number, int | float) or number % 1 != 0:
                raise ValueError(f"{what} is {_short(number)}, expected a whole number")
            if number <= 0:
                raise ValueError(f"{what} is {_short(number)}, expected more than 0")
            if name == "r" and number > MAX_RANK:
                raise ValueError(f"{what} is {_short(number)}, more than any matrix here has")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
