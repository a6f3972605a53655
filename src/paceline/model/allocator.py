"""The allocators of the C library and of CUDA, told how the engine uses memory."""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Lets glibc reuse large blocks in place of giving each back to the system; elsewhere it does nothing.

    Fresh pages from the system cost a step on a CPU about 4%.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 1 << 25)  # the largest that glibc takes
        libc.mallopt(_TRIM_THRESHOLD, -1)


def grow_segments() -> None:
    """Lets torch's CUDA allocator grow its segments: batches of ever other sizes leave no holes then.

    For an allocator that nobody has set otherwise. It reads this once, when the device is first used.
    """
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & set(os.environ):
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
