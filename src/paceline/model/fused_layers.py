"""Rotary embeddings and SwiGLU of Llama's kind of layers in one kernel each way, on a GPU."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType
from typing import Any

from torch import Tensor, nn
from torch.nn import SiLU
from transformers.activations import SiLUActivation
from transformers.models.llama import modeling_llama

from paceline.kernels.rotary import Rotary
from paceline.kernels.swiglu import SwiGLU
from paceline.model.batch import current_batch

_ROTARY = "apply_rotary_pos_emb"


def layer_forwards(model: nn.Module) -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
    """A forward for every attention and MLP whose code is that of Llama's; others keep their own.

    So does a module on which another forward than its class's stands already, such as a hook's.
    """
    for module in model.modules():
        forward = inspect.unwrap(type(module).forward)
        if "forward" in vars(module) or not isinstance(forward, FunctionType):
            continue
        if _ROTARY in forward.__code__.co_names and _has_llamas_rotary(forward):
            yield module, partial(_with_fused_rotary(forward), module)
        elif _is_llamas_mlp(module, forward):
            yield module, partial(_mlp, module)


def _same_code(one: Any, other: Any) -> bool:
    """Whether two functions do the same, by the same names; their docstrings may differ."""
    first, second = (inspect.unwrap(function).__code__ for function in (one, other))
    constants = [
        [c for c in code.co_consts if c != function.__doc__]
        for code, function in ((first, inspect.unwrap(one)), (second, inspect.unwrap(other)))
    ]
    return (
        first.co_code == second.co_code and first.co_names == second.co_names and constants[0] == constants[1]
    )


def _has_llamas_rotary(forward: FunctionType) -> bool:
    own = forward.__globals__
    return all(
        name in own and _same_code(own[name], getattr(modeling_llama, name))
        for name in (_ROTARY, "rotate_half")
    )


def _with_fused_rotary(forward: FunctionType) -> FunctionType:
    """The same code with another rotary function; its module stays as it is."""
    names = {**forward.__globals__, _ROTARY: partial(_rotary, forward.__globals__[_ROTARY])}
    made = FunctionType(forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__)
    made.__kwdefaults__ = forward.__kwdefaults__
    return made


def _rotary(
    plain: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *args: Any, **kwargs: Any
) -> Any:
    if args or kwargs or not query.is_cuda or current_batch() is None:
        return plain(query, key, cos, sin, *args, **kwargs)
    return Rotary.apply(query, key, cos, sin)  # type: ignore[no-untyped-call]


def _is_llamas_mlp(module: nn.Module, forward: FunctionType) -> bool:
    gated = isinstance(getattr(module, "act_fn", None), SiLU | SiLUActivation)
    return gated and _same_code(forward, modeling_llama.LlamaMLP.forward)


def _mlp(module: Any, x: Tensor) -> Tensor:
    if not x.is_cuda or current_batch() is None:
        out: Tensor = type(module).forward(module, x)
        return out
    gate, up = module.gate_proj(x), module.up_proj(x)
    moved: Tensor = module.down_proj(SwiGLU.apply(gate, up))  # type: ignore[no-untyped-call]
    return moved
