"""Much at once: 200 runs in a study, two million rows, and a Ray study whose worker dies again and again.

    python benchmarks/load.py study rows ray --out benchmarks/results/load-cpu.json

`study`: seconds and peak memory of training 200 tiny runs and of what reads them afterwards. `rows`: JSON
lines made here are looked at, looked at again, and trained on for two steps, beside a twentieth of them:
time, peak anonymous memory (as benchmarks/data.py has it), the first output and the longest silence. `ray`:
cohorts on two workers, one of which is killed every 20 seconds, against the same study undisturbed, bit for
bit.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import yaml

from data import anonymous

PACELINE = [sys.executable, "-m", "paceline"]
COMMON = {
    "base": "embedded",
    "max_length": 256,
    "batch_size": 2,
    "grad_accum": 1,
    "lora_dropout": 0.0,
    "logging_steps": 1,
}


def write_rows(file: Path, count: int) -> dict:
    """Writes rows of 30 to 100 tokens as JSON lines; returns what a recipe says of them, 20 held out."""
    with file.open("w") as rows:
        for i in range(count):
            answer = f"Take {i} and add {i % 97}: it is {i + i % 97}. " * (1 + i % 3)
            rows.write(json.dumps({"prompt": f"What is {i} plus {i % 97}?", "completion": answer}) + "\n")
    return {"source": str(file), "eval_ratio": 20 / count}


def watched(command: list[str], **environment: str) -> dict:
    """Seconds, of these on a CPU, peak anonymous memory (MiB), first output and longest silence (s)."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment}
    )
    moments, said = [0.0], bytearray()

    def read() -> None:
        while chunk := os.read(process.stdout.fileno(), 65536):
            moments.append(time.perf_counter() - began)
            said.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    busy = 0.0
    while process.poll() is None:
        busy = max(busy, cpu_seconds(process.pid))
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.5)
    reader.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said[-3000:].decode()}")
    ends = [*moments[1:], time.perf_counter() - began]
    return {
        "seconds": round(ends[-1], 1),
        "cpu_seconds": round(busy, 1),
        "peak_mib": peak // 2**20,
        "first_output_s": round(ends[0], 1),
        "longest_silence_s": round(max(b - a for a, b in zip(moments, ends, strict=True)), 1),
    }


def cpu_seconds(pid: int) -> float:
    """Of a process and the children that it has waited for; on a busy machine it says more than a clock."""
    try:
        return sum(psutil.Process(pid).cpu_times()[:4])
    except psutil.NoSuchProcess:
        return 0.0


def load_of_study(scratch: Path, runs: int) -> dict:
    """A study of many tiny runs, all in one cohort, and each question about it."""
    entries = [{"name": f"run-{i}", "lora_r": 1 + i % 4, "lr": 1e-4 * (1 + i / 50)} for i in range(runs)]
    data = write_rows(scratch / "few.jsonl", 60)
    content = {"study": "many", "recipe": {**COMMON, "data": data, "max_steps": 4}, "runs": entries}
    file = scratch / "many.yaml"
    file.write_text(yaml.safe_dump(content))
    folder, out = str(scratch / "many"), str(scratch / "out")
    found = {
        "train": watched([*PACELINE, "study", "run", str(file), "--runs", str(scratch)]),
        "run again": watched([*PACELINE, "study", "run", str(file), "--runs", str(scratch)]),
        "compare": watched([*PACELINE, "compare", folder]),
        "report": watched([*PACELINE, "report", folder, "-o", out]),
        "watch": watched([*PACELINE, "watch", folder]),
    }
    found["report page, MB"] = round((scratch / "out" / "report.html").stat().st_size / 1e6, 1)
    return {"runs": runs, **found}


def load_of_rows(scratch: Path, count: int) -> dict:
    """JSON lines without end: read, tokenized, from the cache, and trained on."""
    file = scratch / f"rows-{count}.jsonl"
    recipe = {**COMMON, "data": write_rows(file, count), "max_steps": 2}
    (scratch / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    train = [*PACELINE, "train", str(scratch / "recipe.yaml"), "--runs", str(scratch / "trained")]
    found = {
        "data show": watched([*PACELINE, "data", "show", str(file)]),
        "again, from the cache": watched([*PACELINE, "data", "show", str(file)]),
        "train for two steps": watched([*train, "--run-name", f"rows-{count}"]),
    }
    return {"rows": count, "file_mb": round(file.stat().st_size / 1e6), **found}


DRIVER = """
import sys, time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from paceline.launch.ray import launch
file, shared, every = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 10**8})
nodes = [cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
kills = 0
with ThreadPoolExecutor() as pool:  # only a main thread may start nodes
    study = pool.submit(launch, file, shared, None, 2, print)
    while not study.done() and not any(Path(shared).glob("*/*/checkpoints/step-*")):
        time.sleep(0.05)
    while not wait([study], timeout=every).done:
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1, object_store_memory=10**8))
        kills += 1
print("kills", kills)
study.result()
"""
RAY_QUIET = {"RAY_worker_niceness": "0", "RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def load_of_ray(scratch: Path, every: float) -> dict:
    """A study whose worker is killed every so many seconds; the command is given again until it ends well."""
    runs = [{"name": f"r{i}", "lora_r": 2 + i, "seed": i, "lora_dropout": 0.1 * (i % 2)} for i in range(6)]
    data = write_rows(scratch / "few.jsonl", 400)
    recipe = {**COMMON, "data": data, "max_steps": 2000, "save_steps": 10, "logging_steps": 50}
    file = scratch / "killed.yaml"
    file.write_text(yaml.safe_dump({"study": "killed", "recipe": recipe, "runs": runs}))
    alone = watched([*PACELINE, "study", "run", str(file), "--runs", str(scratch / "alone"), "--no-check"])
    began, kills, commands = time.perf_counter(), 0, 0
    while commands < 50:
        commands += 1
        driver = [sys.executable, "-c", DRIVER, str(file), str(scratch / "shared"), str(every)]
        environment = {**os.environ, **RAY_QUIET}
        done = subprocess.run(driver, capture_output=True, text=True, env=environment, check=False)
        kills += int((done.stdout.rsplit("kills ", 1)[1:] or ["0"])[0].split()[0])
        if done.returncode == 0:
            break
        print(done.stderr.strip().splitlines()[-1:], file=sys.stderr)
    adapters = "adapter/adapter_model.safetensors"
    same = [
        (scratch / "shared" / "killed" / run["name"] / adapters).read_bytes()
        == (scratch / "alone" / "killed" / run["name"] / adapters).read_bytes()
        for run in runs
    ]
    return {
        "runs": len(runs),
        "seconds_between_kills": every,
        "kills": kills,
        "commands": commands,
        "seconds": round(time.perf_counter() - began, 1),
        "undisturbed_seconds": alone["seconds"],
        "runs_with_the_same_bits": sum(same),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=("study", "rows", "ray"))
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--every", type=float, default=20.0)
    parser.add_argument("--out", type=Path, help="a file whose other parts stay as they are")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    report: dict = json.loads(args.out.read_text()) if args.out and args.out.is_file() else {}
    beside = f"load average {os.getloadavg()[0]:.0f} as it began"  # seconds mean little on a busy machine
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {beside}"
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HOME"] = scratch
        for part in args.parts:
            if part == "study":
                report["study"] = load_of_study(Path(scratch), args.runs)
            elif part == "rows":
                report["rows"] = [load_of_rows(Path(scratch), n) for n in (args.rows // 20, args.rows)]
            else:
                report["ray"] = load_of_ray(Path(scratch), args.every)
            report.setdefault("machine", {})[part] = machine
            if args.out:
                args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
