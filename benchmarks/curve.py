"""How Paceline's lead over TRL changes with the model, the number of runs and their batches, on a CPU.

    python benchmarks/curve.py --out benchmarks/results/curve-cpu.json --plot docs/images/curve.svg

Each point is a study of runs of one recipe (rank 16 on all linears, dropout 0.05) whose seeds differ, on rows
of 300 to 520 tokens, timed as in benchmarks/study.py: processes from their start to the last saved adapter,
contenders in turns. TRL trains the runs one after another, and in two processes with a thread each, tuned,
with a per-device batch of 4 (which the trials of benchmarks/study.py found the fastest, or close to it), in
fp32 and under bf16 autocast; Paceline in fp32 and in bf16 (`--half`, for CPUs that have instructions for it;
without, both are in fp32 alone). A ratio is TRL's fastest over Paceline's fastest; `losing` are the points
where it is below 1.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from study import prepare, timed, versions

# Qwen3's proportions at about so many parameters.
MODELS = {
    "5M": (192, 576, 6, 3, 1, 64),
    "27M": (512, 1536, 8, 8, 4, 64),
    "110M": (768, 2304, 14, 12, 6, 64),
    "300M": (1024, 3072, 22, 16, 8, 64),
}
SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
# What does not vary is as here.
BASE = ("27M", 5, 8)
# (what varies, model, runs, effective batch, rows)
POINTS = [
    ("model", "5M", 5, 8, 24),
    ("model", "27M", 5, 8, 8),
    ("runs", "27M", 1, 8, 8),
    ("batch", "27M", 5, 1, 8),
    ("batch", "27M", 5, 4, 8),
    ("runs", "27M", 2, 8, 8),
    ("model", "110M", 5, 8, 4),
    ("model", "300M", 2, 8, 4),
    ("runs", "27M", 10, 8, 8),
]


def shape(model: str) -> dict[str, int]:
    *sizes, head = MODELS[model]
    return {**dict(zip(SHAPE, sizes, strict=True)), "head_dim": head, "vocab_size": 4096}


def recipe(seed: int, batch: int) -> dict:
    small = min(batch, 4)
    common = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "lr": 1e-4, "seed": seed}
    return {**common, "batch_size": small, "grad_accum": batch // small}


def point(model: str, runs: int, batch: int, rows: int, repeats: int, half: bool) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        facts = prepare(folder, rows, shape(model))
        (folder / "facts.json").write_text(json.dumps(facts))
        names = [f"seed-{seed}" for seed in range(runs)]
        settings = {name: recipe(seed, batch) for seed, name in enumerate(names)}
        (folder / "runs.json").write_text(json.dumps(settings))
        jobs: dict[str, list[tuple]] = {
            "paceline float32": [(folder, "paceline", names, "float32")],
            "trl float32": [(folder, "trl", names, "float32", 4)],
        }
        if runs > 1:
            halves = names[::2], names[1::2]
            jobs["trl float32, two processes with a thread each"] = [
                (folder, "trl", part, "float32", 4, 1) for part in halves
            ]
        if half:
            jobs["paceline bfloat16"] = [(folder, "paceline", names, "bfloat16")]
            jobs["trl autocast"] = [(folder, "trl", names, "autocast", 4)]
        seconds: dict[str, float] = {}
        for _ in range(repeats):
            for name, processes in jobs.items():
                took, _peak = timed(*processes)
                seconds[name] = min(took, seconds.get(name, took))
    ours, theirs = (min(t for n, t in seconds.items() if n.startswith(who)) for who in ("paceline", "trl"))
    return {
        **{"model": model, "runs": runs, "batch": batch, "tokens": runs * facts["tokens"]},
        "seconds": {name: round(took, 1) for name, took in seconds.items()},
        "ratio": round(theirs / ours, 2),
    }


def _place(one: dict) -> tuple:
    return one["model"], one["runs"], one["batch"]


def plot(found: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "paceline"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
    labels = {"model": "parameters", "runs": "runs in the study", "batch": "effective batch"}
    for axis, (kind, label) in zip(axes, labels.items(), strict=True):
        own = [
            one for one in found if one["varies"] == kind or (one["model"], one["runs"], one["batch"]) == BASE
        ]
        own.sort(key=lambda one: list(MODELS).index(one["model"]) if kind == "model" else one[kind])
        axis.plot([str(one[kind]) for one in own], [one["ratio"] for one in own], marker="o")
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set_xlabel(label)
    axes[0].set_ylabel("TRL's seconds / Paceline's")
    axes[0].set_ylim(bottom=0)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    found = []
    for varies, *rest in POINTS:
        found.append({"varies": varies, **point(*rest, args.repeats, args.half)})
        print(json.dumps(found[-1]), flush=True)
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "versions": versions(),
        "points": found,
        "losing": [one for one in found if one["ratio"] < 1],
    }
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
