"""Other names for a recipe's settings: those of transformers, TRL, PEFT, bitsandbytes and published scripts.

One table for YAML files and command-line flags. A setting is either another name of one field (`NAMES`), or
something that has another form here (`SETTINGS`): it is translated, accepted with a note, or refused with
a reason.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from paceline.config.fields import FieldPath, Fields, leaves, model_at
from paceline.config.recipe import Recipe
from paceline.config.script_flags import take_script_flags
from paceline.config.settings import BITSANDBYTES, SETTINGS, STAND_FOR, take_bitsandbytes
from paceline.errors import ConfigError

# A field's names, the flag's own first, where they are not just the field's path without `data` or `eval`
# before it.
NAMES: dict[str, tuple[str, ...]] = {
    "base": ("base", "model", "model_name_or_path", "model_name"),
    "data.source": ("data", "dataset_name", "dataset"),
    "data.config": ("data_config", "dataset_config"),
    "data.split": ("split", "dataset_train_split"),
    "data.n": ("n", "num_examples", "max_train_samples"),
    "data.seed": ("data_seed",),
    "max_length": ("max_length", "max_seq_length"),
    "lora_r": ("lora_r", "lora_rank", "r"),
    "lora_dropout": ("lora_dropout", "dropout"),
    "target_modules": ("target_modules", "lora_target_modules"),
    "epochs": ("epochs", "num_train_epochs", "num_epochs"),
    "batch_size": ("batch_size", "batch", "per_device_train_batch_size"),
    "grad_accum": ("grad_accum", "grad_acc", "gradient_accumulation_steps"),
    "lr": ("lr", "learning_rate"),
    "lr_scheduler": ("lr_scheduler", "lr_scheduler_type"),
    "kl.tail": ("kl_tail", "kl_limit_seq"),
    "eval.mtbench.lang": ("mtbench_lang", "mtbench_ru"),
    "eval.mtbench.questions": ("mtbench_questions", "mtbench_questions_limit"),
    "eval.mtbench.judge": ("mtbench_judge", "mtbench_backend"),
    "eval.mtbench.judge_model": ("judge_model",),
    "eval.mtbench.judge_url": ("judge_url",),
    "eval.mtbench.judge_price": ("judge_price",),
    "eval.mtbench.judge_prompts": ("judge_prompts",),
    "track_project": ("track_project", "project"),
    "track_space": ("track_space", "space", "trackio_space_id"),
    "save_limit": ("save_limit", "save_total_limit"),
    "load_best": ("load_best", "load_best_model_at_end"),
    "early_stop_patience": ("early_stop_patience", "early_stopping_patience"),
    "early_stop_min_delta": ("early_stop_min_delta", "early_stopping_threshold"),
}


def names_of(path: FieldPath) -> tuple[str, ...]:
    """The names by which a recipe's field may be given, the flag's own first."""
    own = path[1:] if path[0] in ("data", "eval") else path
    return NAMES.get(".".join(path)) or ("_".join(own),)


# name -> the path of the field that it stands for; a recipe's outermost fields stand for themselves
PATHS: dict[str, FieldPath] = {
    name: path for path, _ in leaves(Recipe) for name in names_of(path) if name not in Recipe.model_fields
}


def all_names() -> list[str]:
    """Every name that is no outermost field of a recipe and is understood all the same."""
    return [*PATHS, *SETTINGS, *BITSANDBYTES]


def other_names(field: str) -> set[str]:
    """The names, beside its own, that stand for a field (dotted) and for nothing else."""
    path = tuple(field.split("."))
    return {name for name, target in PATHS.items() if target == path} | set(STAND_FOR.get(field, ()))


class Resolved(NamedTuple):
    """Fields under Paceline's names, and what is to be told about the settings that they were made from."""

    fields: Fields
    notes: list[str]


def resolve_aliases(fields: Mapping[str, Any], where: str = "recipe") -> Resolved:
    """The fields of one layer (a file, the flags, a run of a study) under Paceline's own names.

    Fields that are Paceline's already stay as they are, and so do unknown ones, which the model refuses.

    Raises:
        ConfigError: two names of one field with different values; a setting that cannot be followed here.
    """
    tree = _Tree(where)
    notes: list[str] = []
    rest = dict(fields)
    try:
        quantized, note = take_bitsandbytes(rest)
        script = take_script_flags(rest)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    notes += [*([note] if note else []), *script.notes]
    for path, meant, name in script.values:
        tree.put(path, meant, name)
    for field, meant in quantized.items():
        tree.put((field,), meant, "load_in_4bit/load_in_8bit")
    for name, value in rest.items():
        if name not in SETTINGS:
            tree.put(PATHS.get(name, (name,)), value, name)
            continue
        try:
            translated, note = SETTINGS[name].read(value)
        except ValueError as error:
            raise ConfigError(f"{where}: {name}: {error}") from error
        notes += [f"{name}: {note}"] if note else []
        for field, meant in translated.items():
            tree.put((field,), meant, name)
    return Resolved(tree.fields, notes)


class _Tree:
    """Nested fields, each of which remembers the name under which it was given."""

    def __init__(self, where: str) -> None:
        self.fields: Fields = {}
        self._where = where
        self._given: dict[str, dict[FieldPath, tuple[str, Any]]] = {}  # by the outermost field

    def put(self, path: FieldPath, value: Any, name: str) -> None:
        """Sets a field, or all fields of a nested mapping; the same value under two names is no conflict."""
        if path == ("data",) and isinstance(value, str):
            path = ("data", "source")
        if isinstance(value, Mapping) and value and model_at(Recipe, path) is not None:
            for key, inner in value.items():
                self.put((*path, key), inner, f"{name}.{key}")
            return
        given = self._given.setdefault(path[0], {})
        for other, (other_name, other_value) in given.items():
            overlaps = other[: len(path)] == path[: len(other)]
            if overlaps and not (other == path and other_value == value) and {} not in (value, other_value):
                raise ConfigError(
                    f"{self._where}: {other_name} is {other_value!r} and {name} is {value!r}, "
                    "but they name the same setting; give one of them"
                )
        given[path] = (name, value)
        place = self.fields
        for part in path[:-1]:
            place = place.setdefault(part, {})
        if value != {} or path[-1] not in place:
            place[path[-1]] = value
