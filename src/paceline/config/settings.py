"""Settings of transformers, TRL, PEFT and published scripts that are no field of a recipe.

Each is translated into fields, accepted with a note that it changes nothing, or refused with a reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paceline.config.fields import Fields

# The fields that a value stands for, and what is to be told about it (empty: nothing).
Meaning = tuple[Fields, str]
_UNSET: tuple[Any, ...] = (None, False, "", "no", "none", "None", [], {})


@dataclass(frozen=True)
class Setting:
    """A setting of another tool.

    `read` gives its meaning here for a value, and raises ValueError with the reason where it has none. On
    the command line it is a switch where `kind` is bool, else an option with a value.
    """

    read: Callable[[Any], Meaning]
    kind: type[bool] | type[str] = str


def _switch(read: Callable[[Any], Meaning]) -> Setting:
    return Setting(read, bool)


def _to(field: str, values: Mapping[Any, Any] | None = None) -> Callable[[Any], Meaning]:
    """Stands for a field; values that are not listed stay as they are."""

    def read(value: Any) -> Meaning:
        known = values is not None and isinstance(value, bool | str) and value in values
        return {field: values[value] if values is not None and known else value}, ""

    return read


def _idle(reason: str) -> Callable[[Any], Meaning]:
    """Accepted, with a note that it changes nothing."""
    return lambda value: ({}, f"no effect: {reason}")


def _only(accepted: tuple[Any, ...], reason: str) -> Callable[[Any], Meaning]:
    """Accepted in silence where it is set to what happens here anyway, else refused."""

    def read(value: Any) -> Meaning:
        if value not in accepted:
            raise ValueError(f"{value!r} is not possible: {reason}")
        return {}, ""

    return read


def _refused(reason: str) -> Callable[[Any], Meaning]:
    """Refused wherever it is set to something."""

    def read(value: Any) -> Meaning:
        if value in _UNSET:
            return {}, ""
        raise ValueError(f"{reason}")

    return read


def _precision(dtype: str) -> Callable[[Any], Meaning]:
    return lambda value: ({"compute_dtype": dtype}, "") if value else ({}, "")


def _base_dtype(value: Any) -> Meaning:
    return ({} if value is None else {"dtype": str(value).removeprefix("torch.")}), ""


def _dtype(value: Any) -> Meaning:
    name = str(value).removeprefix("torch.")
    return {"compute_dtype": {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}.get(name, name)}, ""


def _strategy(steps_field: str, epoch_advice: str, no: Callable[[], Meaning]) -> Callable[[Any], Meaning]:
    def read(value: Any) -> Meaning:
        name = "no" if value in (False, None) else str(value)  # YAML reads a bare `no` as false
        if name == "steps":
            return {}, ""
        if name == "no":
            return no()
        raise ValueError(f"{name!r} is not possible: {epoch_advice}; use {steps_field}")

    return read


def _always_saved() -> Meaning:
    raise ValueError("a run without checkpoints could not go on after a stop; raise save_steps instead")


def _optimizer(value: Any) -> Meaning:
    if value in ("adamw_torch", "adamw_torch_fused", "adamw_hf"):
        return {"optim": "adamw"}, ""
    if value in ("adamw_8bit", "adamw_bnb_8bit"):
        return {"optim": "adamw8bit"}, ""
    paged = {"paged_adamw": "adamw", "paged_adamw_32bit": "adamw", "paged_adamw_8bit": "adamw8bit"}
    if isinstance(value, str) and value in paged:
        return {
            "optim": paged[value]
        }, f"{value} is {paged[value]}: same numbers, but its state is not paged to the host"
    return {"optim": value}, ""


def _tracker(value: Any) -> Meaning:
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError("one tracker at a time; name one, or none")
        value = value[0] if value else "none"
    return {"track": "none" if value is None else value}, ""


_SCHEDULER_FIELDS = {
    "num_cycles": "num_cycles",
    "power": "power",
    "min_lr_rate": "min_lr_ratio",
    "min_lr_ratio": "min_lr_ratio",
}


def _scheduler_arguments(value: Any) -> Meaning:
    if not value:
        return {}, ""
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is no mapping of arguments")
    if unknown := [key for key in value if key not in _SCHEDULER_FIELDS]:
        raise ValueError(
            f"{unknown[0]!r} has no counterpart; there are the fields num_cycles, power, "
            "min_lr_ratio (for min_lr, lr_end and min_lr_rate) and decay_ratio (for num_decay_steps)"
        )
    return {_SCHEDULER_FIELDS[key]: argument for key, argument in value.items()}, ""


def _text_field(value: Any) -> Meaning:
    if value in _UNSET:
        return {}, ""
    columns = {} if value == "text" else {"columns": {"text": value}}
    return {"data": {"format": "text", **columns}}, ""


_STARTS = "adapters begin as init_lora_weights says: true, gaussian, pissa, pissa_niter_N or olora"
_BY_STEPS = "evaluations and checkpoints are counted in steps, and `paceline study show` prints an epoch's"
_OF_THE_COMMAND = "where a run's files go is a flag of `paceline train`, not part of a recipe"
_HUB = "the hub is not part of a recipe; use `paceline train --push-to-hub`, or `paceline push` afterwards"

SETTINGS: dict[str, Setting] = {
    # precision
    "bf16": _switch(_precision("bfloat16")),
    "fp16": _switch(_precision("float16")),
    "bnb_4bit_compute_dtype": Setting(_dtype),
    "torch_dtype": Setting(_base_dtype),
    "tf32": _switch(_idle("products are bfloat16 on a GPU")),
    "llm_int8_has_fp16_weight": _switch(_refused("8-bit weights are kept in 8 bits only")),
    "llm_int8_has_fp16_weights": _switch(_refused("8-bit weights are kept in 8 bits only")),
    # the adapter
    "bias": Setting(_only((None, "none"), "adapters have no biases")),
    "task_type": Setting(_only((None, "CAUSAL_LM"), "bases are causal language models")),
    "loraplus_lr_embedding": Setting(_refused("LoRA+ goes with adapters of linears only")),
    "loraplus_weight_decay": Setting(_refused("weight_decay holds for A and B alike; set that")),
    "target_parameters": Setting(_refused("adapters change linears, not bare parameters (experts)")),
    "lora_bias": _switch(_refused("adapters have no biases")),
    "fan_in_fan_out": _switch(_refused("the layout of a weight follows from its layer")),
    "layer_replication": Setting(_refused("a layer of the base stands where it stands")),
    "eva_config": Setting(_refused(_STARTS)),
    "corda_config": Setting(_refused(_STARTS)),
    "loftq_config": Setting(_refused(_STARTS)),
    # data and loss
    "packing_strategy": Setting(
        _only(
            (None, "wrapped"),
            "`packing` joins and cuts texts as TRL's wrapped does; bfd keeps them apart, which is what "
            "happens here without `packing`",
        )
    ),
    "eval_packing": _switch(
        _only((None, False), "held-out texts are never joined; with `packing` each is cut into windows")
    ),
    "dataset_text_field": Setting(_text_field),
    "assistant_only_loss": _switch(_to("loss_on", {True: "assistant", False: "all"})),
    "completion_only_loss": _switch(_to("loss_on", {True: "assistant", False: "all"})),
    "group_by_length": _switch(
        _refused("batches hold no padding to save; `order: length` sorts an epoch by length")
    ),
    "baseline_eval_samples": Setting(
        _idle("the base is measured on all held-out examples, as the run is; other losses do not compare")
    ),
    # schedule and optimizer
    "optim": Setting(_optimizer),
    "lr_scheduler_kwargs": Setting(_scheduler_arguments),
    # evaluation, checkpoints, log
    "eval_strategy": Setting(_strategy("eval_steps", _BY_STEPS, lambda: ({"eval_steps": None}, ""))),
    "evaluation_strategy": Setting(_strategy("eval_steps", _BY_STEPS, lambda: ({"eval_steps": None}, ""))),
    "save_strategy": Setting(_strategy("save_steps", _BY_STEPS, _always_saved)),
    "logging_strategy": Setting(_only((None, "steps"), "the log is written every logging_steps")),
    "per_device_eval_batch_size": Setting(_idle("held-out losses do not depend on how examples are batched")),
    "eval_on_start": _switch(_idle("the base is always measured before training")),
    "metric_for_best_model": Setting(
        _only((None, "loss", "eval_loss"), "the best adapter is the one with the lowest eval loss")
    ),
    "greater_is_better": _switch(_refused("the best adapter is the one with the lowest eval loss")),
    "report_to": Setting(_tracker),
    # how it runs
    "dataloader_num_workers": Setting(_idle("tokens are read from memory-mapped files, without workers")),
    "dataloader_pin_memory": _switch(_idle("tokens are read from memory-mapped files, without workers")),
    "gradient_checkpointing_kwargs": Setting(
        _idle("layers are always recomputed without re-entering autograd")
    ),
    "remove_unused_columns": _switch(_idle("a row's other columns are never read")),
    "attn_implementation": Setting(_idle("attention over sequences of different lengths is built in")),
    "device_map": Setting(_idle("the base lies on the GPU if there is one")),
    "use_cache": _switch(_idle("training keeps no cache; answering always does")),
    "trust_remote_code": _switch(_refused("code out of a model's repository is never run")),
    "overwrite_output_dir": _switch(
        _refused("a finished run is never overwritten; delete its directory first")
    ),
    # what belongs to the command
    "inference_only": _switch(
        _refused("nothing is trained then; talk to a finished run with `paceline chat RUN`")
    ),
    "num_proc": Setting(_idle("it is a flag of `paceline train`, not part of a recipe")),
    "dataset_num_proc": Setting(
        _idle("the tokenizer works on all cores; `paceline train --num-proc` limits it")
    ),
    "output_dir": Setting(_refused(f"{_OF_THE_COMMAND}: --output-dir")),
    "run_name": Setting(_refused(f"{_OF_THE_COMMAND}: --run-name; in a study it is a run's `name`")),
    "push_to_hub": _switch(_refused(_HUB)),
    "hub_model_id": Setting(_refused(_HUB)),
}

_BITSANDBYTES = ("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
BITSANDBYTES = {
    name: Setting(_to("quantize"), str if name.endswith("type") else bool) for name in _BITSANDBYTES
}

# field -> the settings that stand for it and for nothing else
STAND_FOR: dict[str, tuple[str, ...]] = {
    "quantize": _BITSANDBYTES,
    "compute_dtype": ("bf16", "fp16", "bnb_4bit_compute_dtype"),
    "loss_on": ("assistant_only_loss", "completion_only_loss"),
    "track": ("report_to",),
}


def take_bitsandbytes(fields: Fields) -> Meaning:
    """Takes a BitsAndBytesConfig's settings out of the fields: together they say what `quantize` does.

    Raises:
        ValueError: settings that contradict each other or have no counterpart.
    """
    given = {name: fields.pop(name) for name in _BITSANDBYTES if name in fields}
    in_4bit, in_8bit = given.get("load_in_4bit"), given.get("load_in_8bit")
    details = [name for name in _BITSANDBYTES[2:] if given.get(name)]
    if not given:
        return {}, ""
    if in_4bit and in_8bit:
        raise ValueError("load_in_4bit and load_in_8bit are both true; give one of them")
    if in_4bit:
        return _four_bit(given.get("bnb_4bit_quant_type"), bool(given.get("bnb_4bit_use_double_quant")))
    if details and in_4bit is None and in_8bit is None:
        raise ValueError(f"{details[0]} needs `load_in_4bit: true` beside it; or write `quantize: nf4`")
    note = f"{details[0]}: no effect: the base is not loaded in 4 bits" if details else ""
    if in_8bit is None and in_4bit is None:
        return {}, note
    return {"quantize": "int8" if in_8bit else "none"}, note


def _four_bit(kind: Any, double: bool) -> Meaning:
    note = ""
    if kind is None:
        kind = "nf4"
        note = "load_in_4bit: without bnb_4bit_quant_type that is nf4, as in TRL (bitsandbytes itself: fp4)"
    if kind not in ("nf4", "fp4"):
        raise ValueError(f"bnb_4bit_quant_type is {kind!r}; there are nf4 and fp4")
    if double and kind == "fp4":
        raise ValueError("bnb_4bit_use_double_quant goes with nf4 only (`quantize: nf4-double`)")
    return {"quantize": f"{kind}-double" if double else kind}, note
