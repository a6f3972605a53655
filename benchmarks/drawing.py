"""What drawing the next token takes: on the device in whole units, and on the host as it was done before.

    python benchmarks/drawing.py --out benchmarks/results/drawing-cpu.json

Before, a row of logits became doubles on the host and was sorted as a whole (numpy), unless greedy. Rows are
made as a sure model has them (probabilities fall as 1 / rank^1.2, the nucleus among the likeliest 1,024
tokens) and as an unsure one has them (1 / rank^0.5, a nucleus of most tokens). Both sides take turns on the
same rows; the fastest turn of each counts.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from paceline.evaluate.draw import Draw, choose_tokens

SETTINGS = {"greedy": (0.0, 1.0), "temperature": (0.8, 1.0), "top-p": (0.8, 0.9)}
EXPONENTS = {"sure": 1.2, "unsure": 0.5}


def rows_of(count: int, vocabulary: int, exponent: float) -> torch.Tensor:
    """Logits (count, vocabulary) of ranks in random places."""
    generator = torch.Generator().manual_seed(0)
    falling = torch.arange(1, vocabulary + 1, dtype=torch.float64).log().mul(-exponent).float()
    return torch.stack([falling[torch.randperm(vocabulary, generator=generator)] for _ in range(count)])


def on_the_host(row: torch.Tensor, temperature: float, top_p: float, uniform: float) -> int:
    """A row's token by a sort of all tokens in doubles."""
    if temperature == 0:
        return int(row.argmax())
    probabilities = (row.double() / temperature).softmax(0).numpy()
    order = np.argsort(-probabilities, kind="stable")
    sums = np.cumsum(probabilities[order])
    kept = order[: int(np.searchsorted(sums, top_p)) + 1]
    shares = np.cumsum(probabilities[kept])
    return int(kept[np.searchsorted(shares, uniform * shares[-1], side="right")])


def take_turns(works: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Milliseconds of each one's fastest turn."""
    found = {name: float("inf") for name in works}
    for _ in range(turns):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            found[name] = min(found[name], 1000 * (time.perf_counter() - began))
    return found


def measure(logits: torch.Tensor, temperature: float, top_p: float, turns: int) -> dict[str, float]:
    """Milliseconds a row, ours and before, and how many times as long before took."""
    uniforms = np.random.default_rng(0).random(len(logits)).tolist()
    draws = [Draw(temperature, top_p, uniform) if temperature else None for uniform in uniforms]
    works = {
        "paceline": lambda: choose_tokens(logits, draws),
        "before": lambda: [
            on_the_host(row, temperature, top_p, u) for row, u in zip(logits, uniforms, strict=True)
        ],
    }
    found = {name: spent / len(logits) for name, spent in take_turns(works, turns).items()}
    return {
        **{name: float(f"{spent:.3g}") for name, spent in found.items()},
        "ratio": round(found["before"] / found["paceline"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        milliseconds = {
            kind: {
                name: measure(rows_of(args.rows, args.vocabulary, exponent), *setting, args.turns)
                for name, setting in SETTINGS.items()
            }
            for kind, exponent in EXPONENTS.items()
        }
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": args.threads,
        "torch": version("torch"),
        "vocabulary": args.vocabulary,
        "rows": args.rows,
        "milliseconds a row": milliseconds,
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
