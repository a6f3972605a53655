"""The base: the logits of transformers' model, and linears found and named as PEFT names them."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from helpers import MakeBase, MakeRecipe, packed_logits, plain_model, random_sequences
from paceline import embedded
from paceline.config.base_names import base_path
from paceline.data.chat import load_chat
from paceline.errors import ModelError, PacelineError
from paceline.model.base import Base, load_base, read_config

LENGTHS = (40, 57, 33)


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2", "llama", "mistral"])
def test_a_flat_batch_gives_the_logits_of_each_sequence_alone(architecture: str, tiny_base: MakeBase) -> None:
    plain, base = plain_model(tiny_base(architecture)), load_base(tiny_base(architecture))
    sequences = [ids for ids, _ in random_sequences(LENGTHS)]
    for ids, logits in zip(sequences, packed_logits(base, sequences), strict=True):
        torch.testing.assert_close(logits, plain(ids[None]).logits[0], atol=1e-5, rtol=1e-5)


def test_linears_that_read_one_tensor_are_a_group(loaded_base: Base) -> None:
    kinds = [tuple(name.rsplit(".", 1)[-1] for name in group.names) for group in loaded_base.groups]
    layer = [("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)]
    assert kinds == layer * 2
    assert [group.index for group in loaded_base.groups] == list(range(8))
    for group in loaded_base.groups:
        found = tuple(loaded_base.model.get_submodule(name) for name in group.names)
        assert found == group.linears


def test_the_base_is_frozen(loaded_base: Base) -> None:
    assert not any(parameter.requires_grad for parameter in loaded_base.model.parameters())
    assert not loaded_base.model.training


@pytest.mark.parametrize(
    "targets",
    [
        ["q_proj"],
        ["q_proj", "down_proj"],
        ["self_attn.v_proj", "1.mlp.up_proj"],
        ["model.layers.0.self_attn.o_proj"],
        r".*\.1\..*(k_proj|gate_proj)",
        r".*_proj",
        "all-linear",
        "All-Linear",
        r".*layers\.0\.mlp\.(up|down)_proj",
    ],
)
def test_target_modules_name_what_they_name_in_peft(
    targets: list[str] | str, tiny_base: MakeBase, loaded_base: Base, recipe: MakeRecipe
) -> None:
    config = LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM")
    theirs = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base()), config).base_model
    assert set(loaded_base.targets(recipe(target_modules=targets))) == set(theirs.targeted_module_names)


def test_an_unknown_target_lists_what_exists(loaded_base: Base, recipe: MakeRecipe) -> None:
    with pytest.raises(
        PacelineError,
        match=r"no linear 'query_proj' in .*; there are down_proj, embed_tokens, gate_proj, k_proj",
    ):
        loaded_base.targets(recipe(target_modules=["query_proj"]))
    with pytest.raises(PacelineError, match=r"no linear 'qproj' in .*, did you mean 'q_proj'\?"):
        loaded_base.targets(recipe(target_modules=["down_proj", "qproj"]))
    with pytest.raises(PacelineError, match=r"the expression 'nothing' matches no linear"):
        loaded_base.targets(recipe(target_modules="nothing"))


def test_part_of_a_name_is_no_target(loaded_base: Base, recipe: MakeRecipe) -> None:
    for partial in ("_proj", "proj", "layers.0", "elf_attn.q_proj"):
        with pytest.raises(ModelError):
            loaded_base.targets(recipe(target_modules=[partial]))
    with pytest.raises(ModelError):
        loaded_base.targets(recipe(target_modules="q_proj"))  # an expression is matched with the whole name


def test_norms_are_those_of_the_weights(tiny_base: MakeBase, loaded_base: Base) -> None:
    plain = plain_model(tiny_base())
    assert len(loaded_base.weight_norms) == 16
    for name, norm in loaded_base.weight_norms.items():
        assert norm == pytest.approx(float(plain.get_submodule(name).weight.norm()), rel=1e-5)


def test_an_adapters_size_is_known_before_it_is_made(loaded_base: Base, recipe: MakeRecipe) -> None:
    made = recipe(lora_r=3, target_modules=["k_proj", "up_proj"])
    assert loaded_base.adapter_size(made) == 2 * 3 * ((64 + 64) + (64 + 160))
    assert len(loaded_base.new_adapter(made).parameters) == loaded_base.adapter_size(made)


def test_embedded_stands_for_the_base_that_the_package_carries() -> None:
    assert base_path("embedded") == str(embedded.BASE)
    assert base_path("owner/name") == "owner/name"


@pytest.mark.parametrize("name", ["", "./no", "/no/such", "~/no-such", "embedded ", "мой базис", "a/b/c"])
def test_what_can_be_no_hub_id_is_a_folder_and_the_hub_is_not_asked(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder, and no hub id"):
        load_base(name)
    with pytest.raises(ModelError, match="no such folder, and no hub id"):
        load_chat(name)
    assert read_config("embedded").model_type == "qwen3"


def test_weights_that_cannot_be_read_are_told_in_one_line(tiny_base: MakeBase, tmp_path: object) -> None:
    with pytest.raises(
        ModelError, match="base 'nowhere': no model configuration can be read from this hub id"
    ):
        load_base("nowhere")
    with pytest.raises(ModelError, match=r"no model configuration can be read from this folder"):
        load_base(str(tmp_path))


def test_a_folder_without_weights_is_told_in_one_line(
    loaded_base: Base, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bare")
    loaded_base.model.config.save_pretrained(folder)
    with pytest.raises(ModelError, match="no weights there") as caught:
        load_base(str(folder))
    assert "\n" not in str(caught.value)
