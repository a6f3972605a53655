"""What a training tick asks of a GPU, counted on an emulated one, and what that predicts for a real one.

    python benchmarks/roofline.py --out benchmarks/results/roofline.json

Ticks of Paceline's own forward and backward at Qwen3-0.6B's shapes (random weights, LoRA r16 on all linears,
dropout 0.05, sequences of 400 tokens of which half are supervised) run on the device of tests/cuda. Models
of one and of two layers are counted; a model of 28 is the one plus 27 times what the second adds. Of every
kernel: bytes of operands and results, each once, and the FLOPs of products and attention.

The model: a kernel takes the longest of FLOPs / rate, bytes / bandwidth and 2 us; a tick the longer of its
kernels' sum and of launches times the host's 5 or 10 us. Rates are 80% of the data sheets' dense bf16 figure
for products (60% of that for attention), bandwidth is 85% of theirs. Five processes launch side by side and
share the device: the longer of the sum of their kernels and of one's launches. No reuse in caches, no other
cost: to be taken for what it is, within 30%.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cuda"))
import emulation  # isort: skip - before torch
import torch

LENGTH, LAYERS = 400, 28
# Data sheets: dense bf16 FLOP/s, bytes a second.
GPUS = {"H100 SXM": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}
HOST_US = (5, 10)


def tick(layers: int, runs: int, tokens: int) -> emulation.Counts:
    """What one tick of so many runs asks for, who share the tokens."""
    from paceline.bench import checks
    from paceline.model.base import wrap_model
    from paceline.training.micro_batches import MicroBatch
    from paceline.training.step import forward_backward

    shape = checks.SHAPES["0.6B"] | {"num_hidden_layers": layers}
    checks.SHAPES["counted"] = shape
    model = checks.make_model("counted", torch.device("cpu"), torch.bfloat16)
    with emulation.emulated_cuda():
        base = wrap_model(emulation.to_device(model), "counted")
        trainees = [checks.Trainee(base, seed, lora_dropout=0.05) for seed in range(runs)]
        items = []
        for run, trainee in enumerate(trainees):
            count = tokens // LENGTH // runs
            parts = [
                MicroBatch(checks.sequences(min(5, count - start), LENGTH, 8192, 100 * run + start))
                for start in range(0, count, 5)
            ]
            items += trainee.items(parts)[1]
        with emulation.counting() as counts, emulation.without_numbers():
            forward_backward(base, items)
    return counts


def whole(one: emulation.Counts, two: emulation.Counts) -> list[tuple[str, int, int, int]]:
    """Kernels of a model of 28 layers: (op, bytes, FLOPs, how many), from those of one and of two."""
    first, second = Counter(one.kernels), Counter(two.kernels)
    return [
        (*kernel, first[kernel] + (LAYERS - 1) * (second[kernel] - first[kernel]))
        for kernel in {**first, **second}
    ]


def seconds(kernels: list[tuple[str, int, int, int]], gpu: str) -> float:
    """The sum over all kernels of the longest of arithmetic, memory and 2 us."""
    flops_rate, bandwidth = GPUS[gpu]
    total = 0.0
    for op, moved, flops, count in kernels:
        rate = 0.8 * flops_rate * (0.6 if "attn" in op else 1.0)
        total += count * max(flops / rate, moved / (0.85 * bandwidth), 2e-6)
    return total


def counted(runs: int, tokens: int) -> dict[str, Any]:
    one, two = tick(1, runs, tokens), tick(2, runs, tokens)
    kernels = whole(one, two)
    by_op: Counter[str] = Counter()
    for op, _, _, count in kernels:
        by_op[op] += count
    return {
        "runs": runs,
        "tokens": tokens,
        "launches": sum(count for *_, count in kernels),
        "waits": sum(two.waits.values()),
        "gigabytes": sum(moved * count for _, moved, _, count in kernels) / 1e9,
        "tflops": sum(flops * count for _, _, flops, count in kernels) / 1e12,
        "kernel_ms": {gpu: 1e3 * seconds(kernels, gpu) for gpu in GPUS},
        "launches_by_op": dict(by_op.most_common(15)),
    }


def predicted(ticks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Tokens a second of a cohort, of one run alone, and of five processes, at each cost of a launch."""
    found: dict[str, Any] = {}
    for gpu in GPUS:
        for host in HOST_US:
            rates = {}
            for name, one in ticks.items():
                busy = max(one["kernel_ms"][gpu] / 1e3, one["launches"] * host * 1e-6)
                rates[name] = one["tokens"] / busy
            alone = ticks["one run"]
            busy = max(5 * alone["kernel_ms"][gpu] / 1e3, alone["launches"] * host * 1e-6)
            rates["five processes"] = 5 * alone["tokens"] / busy
            found[f"{gpu}, {host} us a launch"] = {name: round(rate) for name, rate in rates.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=16_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    ticks = {
        "one run": counted(1, args.tokens),
        "five runs": counted(5, args.tokens),
    }
    report = {"gpus": GPUS, "length": LENGTH, "ticks": ticks, "tokens_per_second": predicted(ticks)}
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
