"""The machine: disk, memory, and whether it repeats its sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paceline.doctor.finding import Finding

if TYPE_CHECKING:
    from paceline.doctor.preflight import Preflight
    from paceline.training.estimate import CohortEstimate


def disk_too_small(subject: Preflight) -> Finding | None:
    """The disk has no room for the checkpoints and the adapter.

    Computed: adapter and moments, save_limit + 1 checkpoints at once, against the free bytes.
    Try: another --runs, a smaller save_limit.
    Source: a full disk ends a run in the middle.
    """
    needed, free = subject.disk_needed, subject.disk_free
    if free >= needed:
        return None
    return Finding(
        severity="error",
        message=f"{needed / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free",
        evidence={"needed": needed, "free": free},
        fix={"save_limit": 1},
    )


def not_the_same_bits(subject: Preflight) -> Finding | None:
    """On a GPU two runs of one recipe end with slightly different weights.

    Computed: the device. On a CPU every run repeats bit for bit, alone or together.
    Try: nothing; differences stay within the noise of a re-run.
    Source: atomics and kernel choice in CUDA libraries.
    """
    if subject.device.type != "cuda":
        return None
    message = "a GPU does not repeat its sums in the same order; re-runs differ in the last digits"
    return Finding(severity="note", message=message)


def half_without_hardware(subject: Preflight) -> Finding | None:
    """bf16 or fp16 on a CPU that has no instructions for it: slower than fp32, fp16 twelve times.

    Computed: dtype, and whether the device is a CPU that multiplies in it (bf16: AVX512-BF16 or Arm's BF16).
    Try: dtype auto, which is fp32 on a CPU.
    Source: torch then converts every product to fp32 and back.
    """
    dtype = subject.recipe.dtype
    if (
        dtype not in ("bfloat16", "float16")
        or subject.device.type != "cpu"
        or subject.cpu_multiplies_in(dtype)
    ):
        return None
    return Finding(
        severity="warning",
        message=f"dtype is {dtype}, for which this CPU has no instructions: slower than float32",
        fix={"dtype": "float32"},
    )


def memory_too_small(subject: CohortEstimate) -> Finding | None:
    """The runs that train together need more memory than the device has.

    Computed: `paceline plan`'s estimate: the base, the adapters with their moments, and what a micro-batch
    of each run was measured to take.
    Try: gradient checkpointing, a quantized base, a smaller --token-budget, fewer runs at once.
    Source: a run that is out of memory ends, however small its micro-batches become.
    """
    needed, available = subject.total, subject.available
    if needed <= available:
        return None
    parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in subject.memory.items())
    return Finding(
        severity="error",
        message=f"{needed / 2**30:.1f} GiB needed ({parts}), the device has {available / 2**30:.1f}",
        evidence={"needed": needed, "available": available},
        fix={"gradient_checkpointing": True, "quantize": "nf4"},
        advice="or a smaller --token-budget",
    )
