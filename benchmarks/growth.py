"""How training grows, in time and memory: with the runs of a cohort, with the rows of its data (CPU, fp32).

    python benchmarks/growth.py --out benchmarks/results/growth-cpu.json --plot docs/images/growth.svg

`runs`: 1 to 20 runs (rank 16, seeds apart) on the 27M model of benchmarks/study.py. `rows`: one run on the
embedded base for an epoch over 1,000 to 191,008 rows of about 30 tokens, from JSON lines that nobody has
read before. Each is a process of its own with one thread, timed from its start to its last saved adapter;
the seconds are a core's, which says more than a clock where other work runs beside.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

import yaml
from load import PACELINE, watched
from study import MAX_LENGTH, SHAPES, prepare

COUNTS = (1, 2, 5, 10, 20)
ROWS = (1_000, 8_000, 32_000, 191_008)


def runs_curve(scratch: Path, counts: list[int]) -> dict:
    """Cohorts of more and more runs on the same examples."""
    facts = prepare(scratch, 24, SHAPES["wide"])
    recipe = {
        "base": str(scratch / "base"),
        "data": {"source": str(scratch / "rows.parquet"), "eval_ratio": facts["eval_ratio_times_1e6"] / 1e6},
        "max_length": MAX_LENGTH,
        "lora_r": 16,
        "lora_dropout": 0.05,
        "batch_size": 4,
        "grad_accum": 2,
        "logging_steps": 1000,
    }
    found = []
    for count in counts:
        name = f"runs-{count}"
        runs = [{"name": f"seed-{seed}", "seed": seed} for seed in range(count)]
        file = scratch / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"study": name, "recipe": recipe, "runs": runs}))
        command = [*PACELINE, "study", "run", str(file), "--runs", str(scratch / "runs"), "--no-check"]
        found.append({"runs": count, "tokens": count * facts["tokens"], **watched(command)})
        print(found[-1], flush=True)
    return {"model": SHAPES["wide"], "points": found}


def rows_curve(scratch: Path, counts: list[int]) -> dict:
    """Data sets of more and more rows: read, tokenized and trained on once."""
    found = []
    for count in counts:
        file = scratch / f"rows-{count}.jsonl"
        with file.open("w") as rows:
            for i in range(count):
                a, b = i % 317, i % 89
                rows.write(json.dumps({"prompt": f"{a} + {b}?", "completion": f"{a + b}, row {i}."}) + "\n")
        recipe = {
            "base": "embedded",
            "data": {"source": str(file), "eval_ratio": 100 / count},
            "batch_size": 32,
            "grad_accum": 2,
            "logging_steps": 100,
            "eval_steps": 1_000_000,
        }
        (scratch / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        command = [*PACELINE, "train", str(scratch / "recipe.yaml"), "--runs", str(scratch / "runs")]
        found.append({"rows": count, **watched([*command, "--run-name", f"rows-{count}", "--no-check"])})
        print(found[-1], flush=True)
    return {"model": "embedded", "points": found}


def exponent(points: list[dict], of: str) -> float:
    """The slope of log(seconds of a core) over log(size) between the two largest; 1: linear."""
    from math import log

    before, last = points[-2:]
    return log(last["cpu_seconds"] / before["cpu_seconds"]) / log(last[of] / before[of])


def plot(report: dict, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, of in zip(figure.subplots(1, 2), ("runs", "rows"), strict=True):
        points = report[of]["points"]
        sizes, seconds = [p[of] for p in points], [p["cpu_seconds"] for p in points]
        axes.loglog(sizes, seconds, "o-", color="#2a6fbb", label="measured")
        linear = [seconds[-1] * size / sizes[-1] for size in sizes]
        axes.loglog(sizes, linear, "--", color="#888888", label="proportional to size")
        axes.set_xlabel(f"{of} of a study" if of == "runs" else "rows of the data")
        axes.set_ylabel("seconds of a core")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    report: dict = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": sys.version.split()[0],
    }
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HOME"] = scratch
        report["runs"] = runs_curve(Path(scratch), args.runs)
        report["rows"] = rows_curve(Path(scratch), args.rows)
    for of in ("runs", "rows"):
        report[of]["exponent"] = round(exponent(report[of]["points"], of), 3)
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    if args.plot:
        plot(report, args.plot)


if __name__ == "__main__":
    main()
