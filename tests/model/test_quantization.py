"""Quantized bases: products with stored weights, every matrix learns, runs do not see each other."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import (
    CPU,
    MakeBase,
    MakeRecipe,
    MakeStudy,
    adapter_bytes,
    gradient_of,
    random_adapter,
    random_sequences,
)
from paceline.config.objective import Quantize
from paceline.errors import MissingExtra, PacelineError
from paceline.model.base import Base, load_base
from paceline.model.quantization import (
    UNQUANTIZED,
    BaseFormat,
    base_product,
    default_dtype,
    dense_weight,
    input_gradient,
    is_quantized,
    require_bitsandbytes,
)
from paceline.runs.events import TrainEvent, of_kind, read_events
from paceline.training.study import train_study

KINDS: list[Quantize] = ["nf4", "nf4-double", "fp4", "int8"]


def linears(base: Base) -> list[nn.Linear]:
    return [linear for group in base.groups for linear in group.linears]


@pytest.mark.parametrize("bias", [True, False])
def test_a_plain_product_is_the_linears(bias: bool) -> None:
    linear, x = nn.Linear(6, 4, bias=bias), torch.randn(9, 6)
    assert not is_quantized(linear)
    assert dense_weight(linear, torch.float32) is linear.weight
    torch.testing.assert_close(base_product(x, linear, [9]), linear(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_with_stored_weights_is_about_that_with_the_plain_ones(
    kind: Quantize, tiny_base: MakeBase, loaded_base: Base
) -> None:
    x = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    stored = load_base(tiny_base(), base_format=BaseFormat(kind))
    for ours, plain in zip(linears(stored), linears(loaded_base), strict=True):
        if ours.in_features == 64:
            assert is_quantized(ours)
            dense, product = dense_weight(ours, torch.float32), base_product(x, ours, [40])
            error = (dense - plain.weight).norm() / plain.weight.norm()
            assert error < (0.02 if kind == "int8" else 0.2)
            # int8 rounds the input too, and its bias is none here
            tolerance = 0.02 if kind == "int8" else 1e-4
            assert (product - x @ dense.t()).norm() / product.norm() < tolerance


def test_int8_products_do_not_see_the_other_segments(tiny_base: MakeBase) -> None:
    """LLM.int8() picks outlier columns over all rows that it is given."""
    linear = linears(load_base(tiny_base(), base_format=BaseFormat("int8")))[0]
    x = torch.randn(60, 64, generator=torch.Generator().manual_seed(0))
    x[45, 3] = 50.0  # an outlier, in the second segment
    both = base_product(x, linear, [40, 60])
    assert torch.equal(both[:40], base_product(x[:40], linear, [40]))
    assert torch.equal(both[40:], base_product(x[40:], linear, [20]))


def test_a_recipes_fields_say_how_its_base_is_stored(recipe: MakeRecipe) -> None:
    assert BaseFormat.of(recipe(compute_dtype="bfloat16")) is UNQUANTIZED, "one base for all plain recipes"
    assert UNQUANTIZED.configuration(CPU) is None
    assert BaseFormat.of(recipe(quantize="int8", llm_int8_threshold=3.0)) == BaseFormat("int8", "auto", 3.0)


def test_transformers_is_told_what_the_format_says() -> None:
    eight = BaseFormat("int8", llm_int8_threshold=3.0).configuration(CPU)
    assert (eight.load_in_8bit, eight.llm_int8_threshold) == (True, 3.0)
    four = BaseFormat("nf4-double", compute_dtype="bfloat16").configuration(CPU)
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == (
        True,
        "nf4",
        True,
    )
    assert four.bnb_4bit_compute_dtype == torch.bfloat16
    plain = BaseFormat("fp4").configuration(CPU)
    assert (plain.bnb_4bit_quant_type, plain.bnb_4bit_use_double_quant) == ("fp4", False)
    assert plain.bnb_4bit_compute_dtype == default_dtype(CPU) == torch.float32


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 0), torch.float32), ((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_a_gpu_without_bf16_has_fp32(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert default_dtype(torch.device("cuda")) == dtype


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_has_a_gradient_after_two_steps(
    kind: Quantize, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    train_study(study(run=recipe(quantize=kind, max_steps=3)), tmp_path)
    base = load_base(recipe().base, base_format=BaseFormat(kind))
    before, after = (base.new_adapter(recipe()) for _ in range(2))
    before.initialize(recipe().seed)
    after.load(tmp_path / "run" / "adapter")
    for name, (a, b) in after.matrices.items():
        assert (a != before.matrices[name][0]).any(), f"{name}: A did not move"
        assert b.any(), f"{name}: B did not move"
    trained = of_kind(read_events(tmp_path / "run" / "events.jsonl"), TrainEvent)
    assert all(event.grad_norm is not None and event.grad_norm > 0 for event in trained)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nf4-double", "int8"])
def test_together_equals_alone(kind: Quantize, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path) -> None:
    runs = {"a": recipe(quantize=kind, lora_r=4), "b": recipe(quantize=kind, batch_size=2, seed=1)}
    train_study(study(**runs), tmp_path / "together")
    for name, fields in runs.items():
        train_study(study(**{name: fields}), tmp_path / "alone")
        assert adapter_bytes(tmp_path / "together" / name) == adapter_bytes(tmp_path / "alone" / name)


@pytest.mark.slow
def test_runs_on_differently_stored_bases_train_in_one_study(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    runs = {
        "plain": recipe(max_steps=2),
        "four": recipe(max_steps=2, quantize="nf4"),
        "eight": recipe(max_steps=2, quantize="int8"),
    }
    assert set(train_study(study(**runs), tmp_path).states().values()) == {"finished"}


def test_without_bitsandbytes_it_says_what_to_install(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    said = r"needs bitsandbytes; install it with `pip install 'paceline\[quant\]'`"
    for fields in ({"quantize": "nf4"}, {"optim": "adamw8bit"}):
        with pytest.raises(PacelineError, match=said):
            train_study(study(run=recipe(**fields)), tmp_path)
    with pytest.raises(MissingExtra, match=f"a thing {said}"):
        require_bitsandbytes("a thing")
    UNQUANTIZED.require()
    assert not list(tmp_path.glob("*/recipe.yaml"))


def test_the_type_of_a_base_is_part_of_its_format(recipe: MakeRecipe, tiny_base: MakeBase) -> None:
    assert BaseFormat.of(recipe(dtype="auto")) is UNQUANTIZED
    half = BaseFormat.of(recipe(dtype="bfloat16"))
    assert half != UNQUANTIZED
    base = load_base(tiny_base(), CPU, half)
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.bfloat16}
    assert base.new_adapter(recipe()).parameters.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_a_run_beside_another_has_the_bits_of_one_alone(
    dtype: str, recipe: MakeRecipe, tiny_base: MakeBase
) -> None:
    base = load_base(tiny_base(), CPU, BaseFormat(dtype=dtype))
    one, two = (random_adapter(base, recipe(lora_r=4), seed) for seed in (0, 1))
    first, second = random_sequences((64, 80))
    alone = gradient_of(one, base, [(first, one)])
    assert torch.equal(alone, gradient_of(one, base, [(first, one), (second, two)]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [80, 200, 511])
def test_long_sums_of_half_precision_too(dtype: torch.dtype, count: int) -> None:
    """From 512 columns up a CPU's kernels cut their sums by how many rows they see."""
    torch.manual_seed(0)
    linears = [torch.nn.Linear(1024, 1024, bias=bias).to(dtype) for bias in (True, False)]
    rows, grads = torch.randn(2048, 1024).to(dtype), [torch.randn(2048, 1024).to(dtype) for _ in linears]
    with torch.no_grad():
        for linear in linears:
            beside = base_product(rows, linear, [count, 2000])[:count]
            assert torch.equal(beside, base_product(rows[:count], linear, [count]))
        beside = input_gradient(grads, linears, [count, 2000])[:count]
        assert torch.equal(beside, input_gradient([grad[:count] for grad in grads], linears, [count]))
