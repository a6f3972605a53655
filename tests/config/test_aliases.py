"""Settings under the names of transformers, TRL, PEFT and the write-ups' scripts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.config.aliases import NAMES, PATHS, all_names, other_names, resolve_aliases
from paceline.config.fields import leaves
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.config.settings import SETTINGS
from paceline.errors import ConfigError


def resolved(**fields: Any) -> Any:
    return resolve_aliases(fields).fields


def notes(**fields: Any) -> Any:
    return resolve_aliases(fields).notes


def test_an_sft_configuration_of_trl_is_a_recipe() -> None:
    """The arguments of the QLoRA post-mortem's first remedy and of its 8-bit one, as they stand there."""
    arguments = {
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "gradient_accumulation_steps": 16,
        "learning_rate": 1e-4,
        "max_steps": 2000,
        "warmup_steps": 200,
        "lr_scheduler_type": "cosine",
        "logging_steps": 25,
        "eval_steps": 500,
        "save_steps": 500,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "max_grad_norm": 1.0,
        "load_in_8bit": True,
        "llm_int8_threshold": 6.0,
        "llm_int8_has_fp16_weight": False,
        "r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.1,
        "bias": "none",
        "use_rslora": True,
        "target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "bf16": True,
        "packing": False,
        "report_to": ["trackio"],
        "optim": "adamw_torch_fused",
    }
    made = make_recipe({"base": "b", "data": "d", **arguments}, "post-mortem")
    assert (made.batch_size, made.grad_accum, made.lr, made.lr_scheduler) == (2, 16, 1e-4, "cosine")
    assert (made.quantize, made.lora_r, made.use_rslora, made.optim, made.track) == (
        "int8",
        32,
        True,
        "adamw",
        "trackio",
    )
    said = [note.split(":")[0] for note in resolve_aliases(arguments).notes]
    assert said == ["per_device_eval_batch_size"]
    assert not made.data.packing


@pytest.mark.parametrize(
    ("fields", "quantize"),
    [
        ({"load_in_4bit": True}, "nf4"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "fp4"),
        (
            {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
            "nf4-double",
        ),
        ({"load_in_8bit": True}, "int8"),
        ({"load_in_4bit": False}, "none"),
        ({"load_in_4bit": False, "load_in_8bit": True}, "int8"),
    ],
)
def test_a_bitsandbytes_configuration_is_quantize(fields: Any, quantize: Any) -> None:
    assert resolved(**fields) == {"quantize": quantize}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kl_limit_seq": 128, "kl": {"coef": 0.1}}, {"kl": {"tail": 128, "coef": 0.1}}),
        ({"kl_coef": 0.1, "kl": {}}, {"kl": {"coef": 0.1}}),
        (
            {"data": "d", "num_examples": 5, "subset": "both"},
            {"data": {"source": "d", "n": 5, "subset": "both"}},
        ),
        (
            {"mtbench_ru": "auto", "eval": {"code": {"n": 3}}},
            {"eval": {"mtbench": {"lang": "auto"}, "code": {"n": 3}}},
        ),
        (
            {"mtbench_ru": "auto", "early_stop_patience": 2, "eval_steps": 9},
            {
                "eval": {"mtbench": {"lang": "auto", "during": {"steps": 9, "questions": 0, "patience": 2}}},
                "eval_steps": 9,
            },
        ),
        (
            {"mtbench_backend": "simple", "judge_model": "m"},
            {"eval": {"mtbench": {"judge": "reward", "judge_model": "m"}}},
        ),
        ({"mtbench_backend": "openai"}, {"eval": {"mtbench": {"judge": "openai"}}}),
        ({"mtbench_judge": "simple"}, {"eval": {"mtbench": {"judge": "simple"}}}),
        ({"fp16": True, "bf16": False}, {"compute_dtype": "float16"}),
        ({"bnb_4bit_compute_dtype": "torch.bfloat16"}, {"compute_dtype": "bfloat16"}),
        ({"optim": "paged_adamw_8bit"}, {"optim": "adamw8bit"}),
        (
            {"lr_scheduler_kwargs": {"num_cycles": 3, "min_lr_rate": 0.1}},
            {"num_cycles": 3, "min_lr_ratio": 0.1},
        ),
        ({"eval_strategy": "no"}, {"eval_steps": None}),
        ({"eval_strategy": False}, {"eval_steps": None}),  # a bare `no` in YAML
        ({"completion_only_loss": False}, {"loss_on": "all"}),
        ({"report_to": "none"}, {"track": "none"}),
        ({"lr": 1e-4, "learning_rate": 1e-4}, {"lr": 1e-4}),
        ({"lora_bias": False, "dataset_text_field": None, "trust_remote_code": False}, {}),
        ({"dataset_text_field": "text"}, {"data": {"format": "text"}}),
        (
            {"dataset_text_field": "body", "dataset_name": "d", "format": "text"},
            {"data": {"source": "d", "format": "text", "columns": {"text": "body"}}},
        ),
        (
            {"packing": True, "packing_strategy": "wrapped", "eval_packing": False},
            {"data": {"packing": True}},
        ),
    ],
)
def test_what_a_setting_becomes(fields: Any, expected: Any) -> None:
    assert resolved(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"lr": 1e-4, "learning_rate": 2e-4},
            "lr is 0.0001 and learning_rate is 0.0002, but they name the same",
        ),
        ({"kl": {"coef": 0.1}, "kl_coef": 0.2}, "kl.coef is 0.1 and kl_coef is 0.2"),
        ({"kl": None, "kl_coef": 0.2}, "kl is None and kl_coef is 0.2"),
        ({"quantize": "nf4", "load_in_8bit": True}, "but they name the same setting"),
        ({"eval_strategy": "no", "eval_steps": 100}, "eval_strategy is None and eval_steps is 100"),
        ({"bf16": True, "fp16": True}, "they name the same setting"),
        ({"load_in_4bit": True, "load_in_8bit": True}, "both true"),
        ({"bnb_4bit_quant_type": "nf4"}, "bnb_4bit_quant_type needs `load_in_4bit: true`"),
        (
            {"mtbench_questions_limit": 32, "early_stop_patience": 2},
            "early_stop_patience beside mtbench_questions_limit watches MT-Bench every eval_steps",
        ),
        (
            {"mtbench_backend": "simple", "mtbench_judge": "simple"},
            "mtbench_backend is 'reward' and mtbench_judge is 'simple'",
        ),
        ({"eval_strategy": "epoch"}, "eval_strategy: 'epoch' is not possible: .* use eval_steps"),
        ({"save_strategy": "no"}, "save_strategy: a run without checkpoints"),
        ({"dataset_text_field": "body", "format": "messages"}, "format is 'text' and format is 'messages'"),
        ({"packing": True, "packing_strategy": "bfd"}, "packing_strategy: 'bfd' is not possible: .*wrapped"),
        ({"eval_packing": True}, "eval_packing: True is not possible: held-out texts are never joined"),
        ({"inference_only": True}, "inference_only: .*`paceline chat RUN`"),
        ({"lr_scheduler_kwargs": {"min_lr": 1e-6}}, "'min_lr' has no counterpart"),
        ({"report_to": ["trackio", "tensorboard"]}, "report_to: one tracker at a time"),
        ({"hub_model_id": "USER/x"}, "hub_model_id: the hub is not part of a recipe"),
        ({"bias": "all"}, "bias: 'all' is not possible"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_line(fields: Any, message: Any) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve_aliases(fields, "r.yaml")
    assert str(caught.value).startswith("r.yaml: ")
    assert "\n" not in str(caught.value)


def test_what_changes_nothing_is_said() -> None:
    assert "do not compare" in notes(baseline_eval_samples=40)[0]
    assert "as in TRL" in notes(load_in_4bit=True)[0]


def test_every_name_is_of_a_field_that_there_is_and_no_name_has_two_meanings() -> None:
    paths = {".".join(path) for path, _ in leaves(Recipe)}
    assert set(NAMES) <= paths
    assert len(all_names()) == len(set(all_names()))
    assert not set(PATHS) & set(Recipe.model_fields)
    assert set(SETTINGS) & set(Recipe.model_fields) == {"optim"}


def test_the_names_of_a_field_are_known_to_whoever_changes_a_file() -> None:
    assert other_names("lr") == {"learning_rate"}
    assert {"load_in_4bit", "load_in_8bit"} <= other_names("quantize")
    assert other_names("kl.tail") == {"kl_tail", "kl_limit_seq"}
    assert other_names("seed") == set()


values = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 10), st.floats(0, 1), st.sampled_from(["steps", "no", "a"])
)


@given(st.dictionaries(st.sampled_from([*all_names(), *Recipe.model_fields, "nonsense"]), values, max_size=4))
def test_resolving_twice_is_resolving_once(fields: Any) -> None:
    try:
        once = resolve_aliases(fields)
    except ConfigError:
        return
    again = resolve_aliases(once.fields)
    assert again.fields == once.fields
    assert again.notes == []
