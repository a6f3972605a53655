"""Between a host and its device: copies that nobody waits for, and work that may not fit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import psutil
import torch
from torch import Tensor

T = TypeVar("T")


def upload(host: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device, through pinned memory: the host goes on while it is copied."""
    return host if device.type == "cpu" else host.pin_memory().to(device, non_blocking=True)


def free_bytes(device: torch.device) -> int:
    """The memory of a device that nothing holds."""
    if device.type == "cpu":
        return psutil.virtual_memory().available
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def unless_out_of_memory(work: Callable[[], T], device: torch.device) -> T | None:
    """What `work` returns; None where the device's memory did not do, and what is free of it is free again.

    Freed outside of the handler: an exception that is being handled keeps alive all that its frames hold.
    """
    try:
        return work()
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    return None


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch's allocator, cuBLAS or the driver found no memory on the device."""
    said = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or ("CUDA" in said and ("out of memory" in said or "ALLOC_FAILED" in said))
        or "CUBLAS_STATUS_ALLOC_FAILED" in said
    )
