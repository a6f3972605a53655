"""CPU seconds of `paceline compare` for 20 recipes with 5 seeds each on 2,000 held-out examples.

    python benchmarks/compare.py --out benchmarks/results/compare-cpu.json

The runs are copies of one that was trained; their losses are drawn, with noise over seeds and examples.
The time is of the whole command, from the start of its process, in its own CPU seconds.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from paceline.config.load import dump_recipe, make_recipe
from paceline.config.study import Run, Study
from paceline.runs.directory import RunDirectory
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import write_study_record
from paceline.training.study import train_study

RECIPES, SEEDS, EXAMPLES = 20, 5, 2000
TRAINED = {
    "base": "embedded",
    "data": {"source": "embedded:rust", "n": 60, "eval_ratio": 0.3},
    "batch_size": 4,
    "grad_accum": 1,
    "max_steps": 2,
    "logging_steps": 1,
}


def make_study(folder: Path) -> None:
    """A folder of finished runs, with drawn losses."""
    original = make_recipe(TRAINED, "benchmark")
    train_study(Study(name="many", runs=[Run(name="first", recipe=original)]), folder)
    random = np.random.default_rng(0)
    tokens = random.integers(20, 200, EXAMPLES)
    examples, common = random.normal(2.5, 0.3, EXAMPLES), random.normal(0, 0.02, SEEDS)
    runs = []
    for number in range(RECIPES):
        own = examples + 0.002 * number + random.normal(0, 0.05, EXAMPLES)
        for seed in range(SEEDS):
            name = f"recipe{number}" + (f"-seed{42 + seed}" if seed else "")
            recipe = original.model_copy(update={"lr": 1e-4 * (number + 1), "seed": 42 + seed})
            runs.append(Run(name=name, recipe=recipe, replicate_of=f"recipe{number}" if seed else ""))
            losses = (own + common[seed] + random.normal(0, 0.05, EXAMPLES)) * tokens
            _copy(folder, runs[-1], losses, (examples + 1) * tokens, tokens)
    shutil.rmtree(folder / "first")
    write_study_record(Study(name="many", runs=runs), folder)


def _copy(folder: Path, run: Run, losses: np.ndarray, base: np.ndarray, tokens: np.ndarray) -> None:
    place = folder / run.name
    shutil.copytree(folder / "first", place)
    for name, values in (("final", losses), ("base", base)):
        ExampleLosses(
            source=["drawn"] * EXAMPLES,
            row=np.arange(EXAMPLES),
            task=[f"task{row % 8}" for row in range(EXAMPLES)],
            tokens=tokens,
            loss=values,
            correct=tokens // 2,
            kl=np.full(EXAMPLES, np.nan),
            answer=tokens,
        ).save(place / "eval" / f"{name}.parquet")
    directory = RunDirectory(place)
    directory.recipe_file.write_text(dump_recipe(run.recipe))
    directory.set_status(directory.status())  # with the recipe's new digest


def compare(folder: Path) -> float:
    """CPU seconds of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "paceline", "compare", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "many"
        make_study(folder)
        seconds = [compare(folder) for _ in range(args.repeats)]
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "recipes": RECIPES,
        "seeds": SEEDS,
        "examples": EXAMPLES,
        "cpu_seconds": {"median": round(statistics.median(seconds), 2), "worst": round(max(seconds), 2)},
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
