"""Where a fused function runs: by Triton on a GPU (torch for CUDA brings it), else by plain torch."""

from __future__ import annotations

import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

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
    """The module with the Triton kernels; None where they cannot be built."""
    if (reason := _missing()) is not None:
        warnings.warn(f"training without fused kernels, which takes longer: {reason}", stacklevel=2)
        return None
    return import_module(f"paceline.kernels.triton.{module}")


@cache
def _missing() -> str | None:
    """What Triton lacks to build kernels here; None: nothing."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability() < (7, 5):
        return "the kernels are built for GPUs of compute capability 7.5 and newer"
    compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    if not any(map(shutil.which, compilers)):
        return f"Triton needs a C compiler, and there is no {' or '.join(compilers)}"
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # as Triton has it
    if not Path(sysconfig.get_paths(scheme)["include"], "Python.h").is_file():
        return "Triton needs the headers of Python; install python3-dev"
    return None
