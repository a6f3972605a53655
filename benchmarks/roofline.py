"""What a training tick asks of a GPU, counted on an emulated one, and what that predicts for a real one.

    python benchmarks/roofline.py --out benchmarks/results/roofline.json

Ticks of Paceline's own forward and backward at Qwen3-0.6B's shapes (random weights, LoRA r16 on all linears,
dropout 0.05, sequences of 400 tokens of which half are supervised) run on the device of tests/cuda, and one
of transformers and PEFT at their leanest. Models of one and of two layers are counted; a model of 28 is the
one plus 27 times what the second adds. Of every kernel: bytes of operands and results, each once, the FLOPs
of products and attention, and the elements that dropout is drawn for.

The model: a kernel takes the longest of FLOPs / rate + draws, bytes / bandwidth and 2 us; a draw takes 16
integer operations (a Philox counter of ten rounds, about 100, serves eight elements) of 64 a clock of a
multiprocessor. A tick takes the longer of its kernels' sum and of launches times the host's 5 or 10 us. Rates
are 80% of the data sheets' dense bf16 figure for products (60% of that for attention), bandwidth is 85% of
theirs. Five processes launch side by side and share the device: the longer of the sum of their kernels and of
one's launches. No reuse in caches, no other
cost: to be taken for what it is, within 30%.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cuda"))
import emulation  # isort: skip - before torch
import torch

LENGTH, LAYERS = 400, 28
# Data sheets: dense bf16 FLOP/s, bytes a second.
GPUS = {"H100 SXM": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}
HOST_US = (5, 10)
# 132 multiprocessors of 64 integer lanes at 1.755 GHz, and what a draw takes of them.
INTEGERS, DRAW = 132 * 64 * 1.755e9, 16


def plain_tick(layers: int, tokens: int) -> emulation.Counts:
    """What a tick of one run asks for in transformers and PEFT, at their leanest.

    That is: adapters in bf16, no autocast, all tokens in one batch without padding through the same flash
    attention, logits of supervised rows alone, in chunks.
    """
    import torch.nn.functional as F
    from peft import LoraConfig, get_peft_model

    from paceline.bench import checks
    from paceline.model import attention
    from paceline.model.batch import pack_sequences, use_batch
    from paceline.model.segment import Segment

    checks.SHAPES["counted"] = checks.SHAPES["0.6B"] | {"num_hidden_layers": layers}
    model = checks.make_model("counted", torch.device("cpu"), torch.bfloat16)
    config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear")
    adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    attention.register()
    model.set_attn_implementation(attention.NAME)
    sequences = checks.sequences(tokens // LENGTH, LENGTH, 8192, 0)
    with emulation.emulated_cuda():
        emulation.to_device(adapted)
        for name, parameter in adapted.named_parameters():
            parameter.requires_grad_("lora_" in name)
        rows = [(one.inputs, one.labels) for one in sequences]
        batch = pack_sequences(rows, [Segment(0, tokens, None)], torch.device("cuda"))
        adapted.train()
        with emulation.counting() as counts, emulation.without_numbers(), use_batch(batch):
            hidden = model.model(input_ids=batch.input_ids, position_ids=batch.positions, use_cache=False)[0]
            supervised = batch.supervised[0]
            labels = batch.labels[0].index_select(0, supervised)
            kept = hidden[0].index_select(0, supervised)
            losses = [
                F.cross_entropy(model.lm_head(part).float(), own, reduction="sum") / len(labels)
                for part, own in zip(kept.split(1000), labels.split(1000), strict=True)
            ]
            torch.stack(losses).sum().backward()
    return counts


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


def whole(one: emulation.Counts, two: emulation.Counts) -> list[tuple[str, int, int, int, int]]:
    """Kernels of a model of 28 layers: (op, bytes, FLOPs, draws, how many), from those of one and of two."""
    first, second = Counter(one.kernels), Counter(two.kernels)
    return [
        (*kernel, first[kernel] + (LAYERS - 1) * (second[kernel] - first[kernel]))
        for kernel in {**first, **second}
    ]


def seconds(kernels: list[tuple[str, int, int, int, int]], gpu: str) -> float:
    """The sum over all kernels of the longest of arithmetic, memory and 2 us."""
    flops_rate, bandwidth = GPUS[gpu]
    total = 0.0
    for op, moved, flops, draws, count in kernels:
        rate = 0.8 * flops_rate * (0.6 if "attn" in op else 1.0)
        arithmetic = flops / rate + draws * DRAW / INTEGERS
        total += count * max(arithmetic, moved / (0.85 * bandwidth), 2e-6)
    return total


def counted(runs: int, tokens: int, count: Callable[[int], emulation.Counts]) -> dict[str, Any]:
    """What a tick of a model of 28 layers asks for, from what `count` says of one layer and of two."""
    one, two = count(1), count(2)
    kernels = whole(one, two)
    by_op: Counter[str] = Counter()
    for op, *_, count in kernels:
        by_op[op] += count
    return {
        "runs": runs,
        "tokens": tokens,
        "launches": sum(count for *_, count in kernels),
        "waits": sum(two.waits.values()),
        "gigabytes": sum(moved * count for _, moved, *_, count in kernels) / 1e9,
        "tflops": sum(flops * count for _, _, flops, _, count in kernels) / 1e12,
        "kernel_ms": {gpu: 1e3 * seconds(kernels, gpu) for gpu in GPUS},
        "launches_by_op": dict(by_op.most_common(15)),
    }


def predicted(ticks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Tokens a second of each kind of tick, and of five processes with one each, at each cost of a launch."""
    found: dict[str, Any] = {}
    for gpu in GPUS:
        for host in HOST_US:
            rates = {}
            for name, one in ticks.items():
                busy = max(one["kernel_ms"][gpu] / 1e3, one["launches"] * host * 1e-6)
                rates[name] = one["tokens"] / busy
            for name, one in ticks.items():
                if one["runs"] == 1:
                    busy = max(5 * one["kernel_ms"][gpu] / 1e3, one["launches"] * host * 1e-6)
                    rates[f"five processes of {name}"] = 5 * one["tokens"] / busy
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
        "one run": counted(1, args.tokens, partial(tick, runs=1, tokens=args.tokens)),
        "five runs": counted(5, args.tokens, partial(tick, runs=5, tokens=args.tokens)),
        "transformers and PEFT": counted(1, args.tokens, partial(plain_tick, tokens=args.tokens)),
    }
    report = {"gpus": GPUS, "length": LENGTH, "ticks": ticks, "tokens_per_second": predicted(ticks)}
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
