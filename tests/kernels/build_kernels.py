"""Calls every launcher with tensors on the CPU, and builds the kernels that it would launch for a GPU.

    python tests/kernels/build_kernels.py CAPABILITY DTYPE

Prints each kernel with its shared memory, registers and stack, in bytes; fails where one does not build,
needs more shared memory than a multiprocessor of that capability gives a block, or spills.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from paceline.kernels.lora import GroupedRuns, RunRows
from paceline.kernels.lora_table import CHUNK, TILE, cut, table_rows
from paceline.kernels.triton import cross_entropy, lora, philox, rotary, swiglu

# The most shared memory of a block, in KiB.
SHARED = {75: 64, 80: 163, 89: 99, 90: 227, 100: 227, 120: 99}
TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.uint8: "*u8",
}
# Bytes of a thread that may be spilled; those of fp32 blocks of Ampere and later are 16.
SPILLED = 16
calls: list[tuple[JITFunction, tuple[Any, ...], dict[str, Any]]] = []


def record(self: JITFunction, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
    calls.append((self, args, options))


def build(
    function: JITFunction, args: tuple[Any, ...], options: dict[str, Any], capability: int
) -> tuple[Any, dict[str, int]]:
    """The compiled kernel, and what it takes of a multiprocessor."""
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    aligned: dict[tuple[int, ...], list[list[Any]]] = {}
    for place, (parameter, value) in enumerate(zip(function.params, args, strict=True)):
        if parameter.is_constexpr:
            signature[parameter.name], constants[(place,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
            if not parameter.do_not_specialize_on_alignment:
                aligned[(place,)] = [["tt.divisibility", 16]]  # as tensors are, and Triton finds at a launch
        else:
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(made.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = {name: int(figure) for name, figure in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}
    return made, usage


def launch_all(dtype: torch.dtype) -> None:
    """Each launcher at Qwen3-0.6B's widths."""
    rows, width, out = 300, 1024, 3072
    x, grad = torch.zeros(rows, width, dtype=dtype), torch.zeros(rows, out, dtype=dtype)
    for rank in (16, 256):
        a, b = torch.zeros(2 * rank, width), [torch.zeros(out, rank), torch.zeros(out, rank)]
        run = RunRows(start=0, stop=rows, a=a, a_grad=a, b=b, b_grad=b, scales=[1.0, 1.0], threshold=7)
        grouped = GroupedRuns(
            runs=[run],
            numbers=torch.arange(rows),
            table=torch.tensor(table_rows([run])),
            tiles=torch.tensor(cut([run], TILE)),
            chunks=torch.tensor(cut([run], CHUNK)),
        )
        low = lora.lora_down(x, grouped)
        lora.lora_up(grad, low, grouped, 0)
        lora.lora_low_gradient(grad, low, grouped, 1)
        lora.lora_weight_gradients(x, low, low, [grad, grad], grouped)
        lora.lora_input_gradient(x, low, grouped)
    philox.keep_words(torch.arange(rows), width, 2**62, 3, 2**15)
    heads = [torch.zeros(1, rows, count, 128, dtype=dtype).transpose(1, 2) for count in (16, 8)]
    angles = torch.zeros(1, rows, 128, dtype=dtype)
    for back in (False, True):
        rotary.rotate(heads[0], heads[1], angles, angles, back)
    swiglu.swiglu(grad, grad)
    swiglu.swiglu_gradients(grad, grad, grad)
    logits, labels = torch.zeros(4, 151_936), torch.zeros(4, dtype=torch.int64)
    cross_entropy.cross_entropy(logits, labels, torch.ones(4), dtype)


def main() -> None:
    capability, dtype = int(sys.argv[1]), getattr(torch, sys.argv[2])
    JITFunction.run = record
    lora._capability = lambda x: divmod(capability, 10)
    launch_all(dtype)
    for function, args, options in calls:
        made, usage = build(function, args, options, capability)
        print(function.__name__, made.metadata.shared, usage, flush=True)
        assert made.metadata.shared <= SHARED[capability] * 1024, "too much shared memory"
        assert usage["STACK"] + usage.get("LOCAL", 0) <= SPILLED, "registers are spilled"


if __name__ == "__main__":
    main()
