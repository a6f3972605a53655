"""An adapter: one flat buffer, PEFT's start, PEFT's files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from helpers import CPU, MakeBase, MakeRecipe, packed_logits, plain_model, random_adapter
from paceline.errors import ModelError
from paceline.model.adapter import Adapter
from paceline.model.base import Base, load_base

IDS = torch.arange(10, 90)
TARGETS = ["q_proj", "v_proj", "o_proj", "up_proj"]


def test_the_flat_buffer_holds_group_after_group_the_a_of_its_targets_then_their_b(
    loaded_base: Base, recipe: MakeRecipe
) -> None:
    adapter = loaded_base.new_adapter(recipe(lora_r=3, target_modules=TARGETS))
    adapter.parameters.copy_(torch.arange(len(adapter.parameters)))
    expected: list[Tensor] = []
    for group in loaded_base.groups:
        chosen = [adapter.matrices[name] for name in group.names if name in adapter.matrices]
        expected += [a for a, _ in chosen] + [b for _, b in chosen]
    assert torch.equal(torch.cat([matrix.flatten() for matrix in expected]), adapter.parameters)


def test_matrices_and_layers_views_are_the_same_memory(loaded_base: Base, recipe: MakeRecipe) -> None:
    adapter = loaded_base.new_adapter(recipe(lora_r=3, target_modules=TARGETS))
    assert adapter.parameters.dtype == adapter.gradients.dtype == torch.float32
    assert len(adapter.gradients) == len(adapter.parameters)
    assert sorted(adapter.names) == sorted(loaded_base.targets(recipe(target_modules=TARGETS)))
    for group in loaded_base.groups:
        weights = adapter.weights.get(group.index)
        targeted = [name for name in group.names if name in adapter.matrices]
        assert (weights is None) == (not targeted)
        for target, name in enumerate(targeted):
            assert weights is not None
            a, b = adapter.matrices[name]
            assert group.names[weights.targets[target]] == name
            assert weights.a[weights.columns(target)].data_ptr() == a.data_ptr()
            assert weights.b[target].data_ptr() == b.data_ptr()
            gradients = adapter.gradient_of(name)
            assert gradients[0].data_ptr() == weights.a_grad[weights.columns(target)].data_ptr()
            assert gradients[1].data_ptr() == weights.b_grad[target].data_ptr()
            assert [half.shape for half in gradients] == [a.shape, b.shape]


def test_the_start_is_pefts_and_a_function_of_seed_and_name(loaded_base: Base, recipe: MakeRecipe) -> None:
    adapters = []
    for seed, targets in ((1, TARGETS), (1, ["up_proj", "down_proj"]), (2, TARGETS)):
        adapters.append(random_adapter(loaded_base, recipe(lora_r=16, target_modules=targets)))
        adapters[-1].initialize(seed)
    first, other, reseeded = adapters
    name = next(name for name in first.names if name.endswith("up_proj"))
    assert torch.equal(first.matrices[name][0], other.matrices[name][0])
    assert not torch.equal(first.matrices[name][0], reseeded.matrices[name][0])
    for a, b in first.matrices.values():
        peft = torch.nn.init.kaiming_uniform_(torch.empty_like(a), a=5**0.5)
        assert not b.any()
        assert a.abs().max() == pytest.approx(float(peft.abs().max()), rel=0.05)
        assert a.std() == pytest.approx(float(peft.std()), rel=0.1)
    assert not torch.equal(*(first.matrices[name][0] for name in first.names[:2]))


def test_peft_loads_what_save_wrote_and_gives_the_same_logits(
    tiny_base: MakeBase, loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> None:
    made = recipe(lora_r=5, lora_alpha=7, use_rslora=True, target_modules=TARGETS)
    adapter = random_adapter(loaded_base, made)
    adapter.save(tmp_path, made)
    peft = PeftModel.from_pretrained(plain_model(tiny_base()), str(tmp_path)).eval()
    with torch.no_grad():
        expected = peft(IDS[None]).logits[0]
    (ours,) = packed_logits(loaded_base, [IDS], adapter)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        ours, plain_model(tiny_base(), adapter)(IDS[None]).logits[0], atol=1e-5, rtol=1e-5
    )
    assert (ours - packed_logits(loaded_base, [IDS])[0]).abs().max() > 1e-2


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2"])
def test_load_reads_what_peft_wrote(
    architecture: str, tiny_base: MakeBase, recipe: MakeRecipe, tmp_path: Path
) -> None:
    config = LoraConfig(
        r=4, lora_alpha=32, target_modules=TARGETS, init_lora_weights=False, task_type="CAUSAL_LM"
    )
    folder = tiny_base(architecture)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    peft = get_peft_model(plain, config).eval()
    peft.save_pretrained(tmp_path)
    base = load_base(folder)
    adapter = base.new_adapter(recipe(base=folder, lora_r=4, lora_alpha=32, target_modules=TARGETS))
    adapter.load(tmp_path)
    with torch.no_grad():
        expected = peft(IDS[None]).logits[0]
    torch.testing.assert_close(packed_logits(base, [IDS], adapter)[0], expected, atol=1e-5, rtol=1e-5)


def test_what_was_saved_is_loaded_bit_for_bit(loaded_base: Base, recipe: MakeRecipe, tmp_path: Path) -> None:
    made = recipe(lora_r=3)
    written, read = random_adapter(loaded_base, made), loaded_base.new_adapter(made)
    written.save(tmp_path / "new" / "folder", made)
    read.load(tmp_path / "new" / "folder")
    assert torch.equal(read.parameters, written.parameters)


@pytest.fixture
def saved(loaded_base: Base, recipe: MakeRecipe, tmp_path: Path) -> Path:
    made = recipe(lora_r=4, target_modules=["q_proj", "v_proj"])
    random_adapter(loaded_base, made).save(tmp_path, made)
    return tmp_path


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lora_r": 8}, r"q_proj lora_A is \(4, 64\), expected \(8, 64\)"),
        ({"target_modules": ["q_proj"]}, r"differing tensor: .*0\.self_attn\.v_proj\.lora_A\.weight"),
        ({"target_modules": ["q_proj", "v_proj", "o_proj"]}, r"differing tensor: .*o_proj\.lora_A\.weight"),
    ],
)
def test_weights_of_another_shape_or_for_other_modules_are_refused(
    fields: dict[str, object], said: str, saved: Path, loaded_base: Base, recipe: MakeRecipe
) -> None:
    own = {"lora_r": 4, "target_modules": ["q_proj", "v_proj"]}
    adapter = loaded_base.new_adapter(recipe(**own | fields))
    with pytest.raises(ModelError, match=said):
        adapter.load(saved)


def test_a_tensor_that_is_no_lora_matrix_is_refused(
    saved: Path, loaded_base: Base, recipe: MakeRecipe
) -> None:
    """DoRA's magnitudes, a trained bias: what they do would be lost without a word."""
    path = saved / "adapter_model.safetensors"
    save_file({**load_file(path), "base_model.model.q_proj.lora_magnitude_vector": torch.ones(3)}, path)
    with pytest.raises(ModelError, match=r"differing tensor: .*magnitude"):
        loaded_base.new_adapter(recipe(lora_r=4, target_modules=["q_proj", "v_proj"])).load(saved)


def test_a_folder_without_weights_is_refused(loaded_base: Base, recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors there"):
        loaded_base.new_adapter(recipe()).load(tmp_path)


def test_an_adapter_without_targets_is_empty(loaded_base: Base, recipe: MakeRecipe) -> None:
    adapter = Adapter(recipe(), loaded_base.groups, {}, CPU)
    assert adapter.names == []
    assert len(adapter.parameters) == 0


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_weights_of_an_odd_type_are_refused(
    dtype: torch.dtype, saved: Path, loaded_base: Base, recipe: MakeRecipe
) -> None:
    path = saved / "adapter_model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(ModelError, match=r"lora_A is of type \w+; there are F64, F32, F16, BF16"):
        loaded_base.new_adapter(recipe(lora_r=4, target_modules=["q_proj", "v_proj"])).load(saved)


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"\xff" * 64, b"\x08\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_broken_file_is_refused(content: bytes, saved: Path, loaded_base: Base, recipe: MakeRecipe) -> None:
    (saved / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as a safetensors file"):
        loaded_base.new_adapter(recipe(lora_r=4, target_modules=["q_proj", "v_proj"])).load(saved)


def test_values_that_are_not_finite_are_refused(saved: Path, loaded_base: Base, recipe: MakeRecipe) -> None:
    path = saved / "adapter_model.safetensors"
    save_file({name: tensor * torch.nan for name, tensor in load_file(path).items()}, path)
    with pytest.raises(ModelError, match="not finite"):
        loaded_base.new_adapter(recipe(lora_r=4, target_modules=["q_proj", "v_proj"])).load(saved)


@pytest.mark.parametrize(
    "fields", [{"use_dora": True}, {"init_lora_weights": "pissa"}, {"rank_pattern": {"q_proj": 2}}]
)
def test_every_kind_is_saved_and_loaded_bit_for_bit(
    fields: dict[str, Any], loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> None:
    made = recipe(lora_r=3, **fields)
    written, read = loaded_base.new_adapter(made), loaded_base.new_adapter(made)
    written.initialize(3)
    written.parameters.add_(0.01)
    written.save(tmp_path, made)
    read.load(tmp_path)
    assert torch.equal(read.parameters, written.parameters)
    for name in written.names:
        for ours, theirs in zip(read.product(name), written.product(name), strict=True):
            assert torch.equal(ours, theirs)
