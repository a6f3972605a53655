"""Where a fused function runs: by Triton on a GPU (torch for CUDA brings it), else by plain torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def fused(module: str) -> Callable[[Function], Function]:
    """Marks plain torch code for which `paceline.kernels.triton.<module>` has a launcher of the same name.

    Both take the same arguments, a tensor first, and return the tensors that they write.
    """

    def mark(plain: Function) -> Function:
        @wraps(plain)
        def call(*args: Any) -> Any:
            return run(module, plain, args)

        return call  # type: ignore[return-value]

    return mark


def run(module: str, plain: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Calls the launcher or the plain function."""
    if args[0].is_cuda and (kernels := _kernels(module)) is not None:
        return getattr(kernels, plain.__name__)(*args)
    return plain(*args)


@cache
def _kernels(module: str) -> Any:
    """The module with the Triton kernels; None without Triton."""
    try:
        return import_module(f"paceline.kernels.triton.{module}")
    except ImportError:
        return None
