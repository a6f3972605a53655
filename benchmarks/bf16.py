"""Held-out losses of runs that train in bf16 on a CPU against the same runs in fp32.

    python benchmarks/bf16.py --out benchmarks/results/bf16-cpu.json

Three runs on the embedded base: Rust, T-Wix with a KL anchor, Rust on a base in four bits. Each trains twice,
with nothing but `dtype` changed.
"""

import argparse
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

RUNS = {
    "Rust": {"data": "embedded:rust", "lora_r": 16, "lora_dropout": 0.05},
    "T-Wix with KL": {"data": "embedded:twix", "lora_r": 16, "kl": {"coef": 0.1}},
    "Rust over nf4": {"data": "embedded:rust", "lora_r": 32, "quantize": "nf4"},
}
TYPES = ("float32", "bfloat16")


def train(name: str, dtype: str, rows: int, steps: int, out: Path) -> float:
    """The held-out loss in the end, in nats a token."""
    from paceline.config.load import make_recipe
    from paceline.config.study import Run, Study
    from paceline.training.study import train_study

    fields = {"base": "embedded", "max_steps": steps, "batch_size": 4, "grad_accum": 2, "lr": 5e-4, "seed": 0}
    data = {"source": RUNS[name]["data"], "n": rows}
    recipe = make_recipe({**fields, **RUNS[name], "data": data, "dtype": dtype}, name)
    outcome = train_study(Study(name="bf16", runs=[Run(name="run", recipe=recipe)]), out)
    assert set(outcome.states().values()) == {"finished"}
    lines = [json.loads(line) for line in (out / "run" / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "eval"][-1]["loss"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", choices=RUNS, nargs="+", default=list(RUNS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    losses: dict[str, dict[str, float]] = {}
    for name in args.only:
        with tempfile.TemporaryDirectory() as scratch:
            losses[name] = {
                kind: train(name, kind, args.rows, args.steps, Path(scratch) / kind) for kind in TYPES
            }
        losses[name]["difference"] = losses[name]["bfloat16"] - losses[name]["float32"]
        print(f"{name}: {losses[name]}", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    facts = {"machine": machine, "torch": version("torch"), "rows": args.rows, "steps": args.steps}
    report = {**facts, "held-out loss": losses}
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
