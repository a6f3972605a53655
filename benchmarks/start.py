"""What a training command does before its first step and after its last adapter, in seconds.

    python benchmarks/start.py --repeats 3 --out benchmarks/results/start-cpu.json

`paceline study run` trains one step on the 27M model of `benchmarks/study.py`; its lines tell when a phase
ends, the fastest turn of each phase counts. One more turn, not timed, tells whose modules take how much of
the imports.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from study import SHAPES, prepare, versions

# The line with which each phase ends.
PHASES = {
    "imports": "reading and tokenizing",
    "24 rows read and tokenized": "loading the base",
    "base loaded and checked": "measuring the base",
}


def command(folder: Path, turn: int, *options: str) -> list[str]:
    run = ["paceline", "study", "run", str(folder / "study.yaml"), "--no-check"]
    return [sys.executable, *options, "-m", *run, "--runs", str(folder / f"runs-{turn}")]


def timed(folder: Path, turn: int) -> dict[str, float]:
    """Seconds of each phase; the last is from the last adapter's being there to the end of the process."""
    began = time.time()
    process = subprocess.Popen(
        command(folder, turn), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    found, waiting, before = {}, dict(PHASES), began
    for line in process.stdout:
        for phase, said in list(waiting.items()):
            if said in line:
                found[phase], before = time.time() - before, time.time()
                del waiting[phase]
    if process.wait() or waiting:
        raise SystemExit(f"exit code {process.returncode}; no line said {list(waiting.values())}")
    saved = max(path.stat().st_mtime for path in folder.glob(f"runs-{turn}/**/*.safetensors"))
    return {**found, "from the last adapter to the end": time.time() - saved}


def owners(folder: Path) -> dict[str, float]:
    """Seconds of the imports by top-level package, under Python's own clock of imports."""
    done = subprocess.run(command(folder, -1, "-X", "importtime"), capture_output=True, text=True, check=True)
    own: Counter[str] = Counter()
    for micros, module in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \| +(\S+)$", done.stderr, re.MULTILINE):
        own[module.split(".")[0]] += int(micros)
    return {package: round(micros / 1e6, 2) for package, micros in own.most_common(12)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        facts = prepare(folder, 24, SHAPES["wide"])
        data = {"source": str(folder / "rows.parquet"), "eval_ratio": facts["eval_ratio_times_1e6"] / 1e6}
        recipe = {"base": str(folder / "base"), "data": data, "max_length": 1024, "max_steps": 1}
        study = {"study": "start", "recipe": recipe, "runs": [{"name": "one"}]}
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        turns = [timed(folder, turn) for turn in range(args.repeats)]
        report = {
            "versions": versions(),
            "seconds": {phase: round(min(turn[phase] for turn in turns), 2) for phase in turns[0]},
            "import_seconds_by_package": owners(folder),
        }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
