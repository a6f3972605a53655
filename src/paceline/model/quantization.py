"""Products with frozen weights, plain or quantized by bitsandbytes."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from paceline.config.objective import Quantize
from paceline.config.recipe import Recipe
from paceline.errors import MissingExtra


def default_dtype(device: torch.device) -> torch.dtype:
    """What a base's weights and products are in: bf16 on a GPU that computes in it, else fp32.

    GPUs before Ampere (V100, T4) have no bf16 and no flash attention; fp16 is theirs where it is asked for.
    """
    return torch.bfloat16 if device.type == "cuda" and is_ampere(device) else torch.float32


def is_ampere(device: torch.device) -> bool:
    """Whether a GPU is of Ampere's generation or newer."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def has_bf16_products() -> bool:
    """Whether this CPU has instructions for bf16 (AVX512-BF16, which all with AMX have, or Arm's)."""
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported())
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def has_fp16_products() -> bool:
    """Whether this CPU has instructions for fp16 (AVX512-FP16 or AMX-FP16, or Arm's)."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def is_quantized(module: nn.Module) -> bool:
    """Whether bitsandbytes holds the module's weight."""
    return type(getattr(module, "weight", None)).__name__ in ("Params4bit", "Int8Params")


def row_parts(rows: Tensor, stops: Sequence[int], apart: bool = False) -> list[slice]:
    """The rows of a packed batch that are multiplied at once: all, or a run's segment after another.

    A CPU's half-precision products cut their sums by how many rows there are (from 512 columns up, at row
    counts of no simple rule): there a segment goes alone, so its bits do not depend on its neighbours.

    Args:
        stops: where each run's segment ends.
        apart: segment by segment whatever the type.
    """
    if not apart and (rows.device.type != "cpu" or rows.dtype not in (torch.bfloat16, torch.float16)):
        return [slice(0, len(rows))]
    bounds = zip([0, *stops], [*stops, len(rows)], strict=True)
    return [slice(start, stop) for start, stop in bounds if stop > start]


def base_product(flat: Tensor, linear: nn.Linear, stops: Sequence[int]) -> Tensor:
    """x W' + b for all rows of a packed batch. Shapes: `flat` (T, in); returns (T, out).

    Args:
        stops: where each run's segment ends; a product whose rows are not independent goes segment by
            segment.
    """
    kind = type(linear.weight).__name__
    if kind == "Int8Params":
        # LLM.int8() picks its outlier columns by all rows it sees (arXiv:2208.07339)
        parts = row_parts(flat, stops, apart=True)
        return torch.cat([type(linear).forward(linear, flat[part]) for part in parts])
    if kind == "Params4bit":
        x = flat.to(getattr(linear, "compute_dtype", None) or flat.dtype)
        out = _by_parts(x, dense_weight(linear, x.dtype).t(), None, stops)
        return (out if linear.bias is None else out + linear.bias.to(out.dtype)).to(flat.dtype)
    return _by_parts(flat, linear.weight.t(), linear.bias, stops)


def _by_parts(x: Tensor, weight: Tensor, bias: Tensor | None, stops: Sequence[int]) -> Tensor:
    parts = [x[part] for part in row_parts(x, stops)]
    outs = [part @ weight if bias is None else torch.addmm(bias, part, weight) for part in parts]
    return outs[0] if len(outs) == 1 else torch.cat(outs)


def input_gradient(grads: Sequence[Tensor], linears: Sequence[nn.Linear], stops: Sequence[int]) -> Tensor:
    """What reaches the input (T, in) of linears that read the same rows, from `grads` (T, out) of each."""
    weights = [dense_weight(linear, grads[0].dtype) for linear in linears]
    found = []
    for part in row_parts(grads[0], stops):
        gradient = grads[0][part] @ weights[0]
        for grad, weight in zip(grads[1:], weights[1:], strict=True):
            gradient.addmm_(grad[part], weight)
        found.append(gradient)
    return found[0] if len(found) == 1 else torch.cat(found)


def dense_weight(linear: nn.Linear, dtype: torch.dtype) -> Tensor:
    """The weight (out, in) as the backward pass multiplies with it."""
    weight: Any = linear.weight
    kind = type(weight).__name__
    if kind == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state).to(dtype)  # type: ignore[no-any-return]
    if kind == "Int8Params":
        state: Any = linear.state
        rows, scales = (weight.CB, weight.SCB) if state.CB is None else (state.CB, state.SCB)
        return rows.to(dtype) * (scales.to(dtype)[:, None] / 127)  # type: ignore[no-any-return]
    return linear.weight


@dataclass(frozen=True)
class BaseFormat:
    """How a base's frozen linears are stored and multiplied, and the tokens that are added to it.

    The recipe's fields of these names.
    """

    quantize: Quantize = "none"
    compute_dtype: str = "auto"
    llm_int8_threshold: float = 6.0
    dtype: str = "auto"
    new_tokens: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe) -> BaseFormat:
        tokens = tuple(recipe.new_tokens)
        if recipe.quantize != "none":
            return cls(recipe.quantize, recipe.compute_dtype, recipe.llm_int8_threshold, recipe.dtype, tokens)
        plain = recipe.dtype == "auto" and not tokens
        return UNQUANTIZED if plain else cls(dtype=recipe.dtype, new_tokens=tokens)

    def weights_dtype(self, device: torch.device) -> torch.dtype:
        """What unquantized weights and activations are in."""
        return default_dtype(device) if self.dtype == "auto" else _torch_dtype(self.dtype)

    def fixed(self, device: torch.device) -> BaseFormat:
        """The same with the type that a device's base would have, wherever it is loaded."""
        return replace(self, dtype=str(self.weights_dtype(device)).removeprefix("torch."))

    def require(self) -> None:
        """Refuses a quantized base where bitsandbytes is not installed."""
        if self.quantize != "none":
            require_bitsandbytes(f"quantize: {self.quantize}")

    def configuration(self, device: torch.device) -> Any:
        """transformers' quantization configuration; None for plain weights.

        Raises:
            MissingExtra: bitsandbytes is not installed.
        """
        if self.quantize == "none":
            return None
        self.require()
        from transformers import BitsAndBytesConfig

        if self.quantize == "int8":
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=self.llm_int8_threshold)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.quantize.removesuffix("-double"),
            bnb_4bit_use_double_quant=self.quantize.endswith("-double"),
            bnb_4bit_compute_dtype=self.weights_dtype(device)
            if self.compute_dtype == "auto"
            else _torch_dtype(self.compute_dtype),
        )


UNQUANTIZED = BaseFormat()


def _torch_dtype(name: str) -> torch.dtype:
    return getattr(torch, name)  # type: ignore[no-any-return]


def require_bitsandbytes(what: str) -> None:
    """Refuses what needs bitsandbytes where it is not installed."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingExtra(what, "bitsandbytes", "quant") from error
