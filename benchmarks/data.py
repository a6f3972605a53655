"""Tokenizing and cleaning as many rows as Strandset-Rust has: time, and memory against a small sample's.

    python benchmarks/data.py --rows 191008 --out benchmarks/results/data-cpu.json

Rows of about 1.2 kB are made from the embedded Rust sample by renaming identifiers, so that they are
distinct; one in a hundred is a copy and one in a hundred a near copy. Memory is the anonymous resident memory
of the process and its workers, sampled, pages that they share counted once (Pss_Anon): pages of mapped files
are the system's to take back.
"""

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def make_rows(path: Path, count: int) -> int:
    """Writes `count` rows; returns their mean size in bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from paceline import embedded

    rng = random.Random(0)
    sources = [
        row
        for row in pq.read_table(embedded.RUST).to_pylist()
        if 700 < len(row["input_data"]) + len(row["output_data"]) < 2200
    ]
    words = [
        f"{a}{b}{c}"
        for a in "bdfgklmnprst"
        for b in "aeiou"
        for c in ("ck", "ld", "mp", "nt", "rs", "st", "ve", "x")
    ]
    rows: list[dict] = []
    for place in range(count):
        if place % 100 == 50:
            rows.append(rows[rng.randrange(len(rows))])
            continue
        if place % 100 == 51:
            other = rows[rng.randrange(len(rows))]
            rows.append({**other, "output_data": other["output_data"].replace(" ", "  ", 1)})
            continue
        row = dict(rng.choice(sources))
        names = {
            name: rng.choice(words) + "_" + rng.choice(words)
            for name in set(re.findall(r"\b[a-z_]{4,}\b", row["input_data"]))
        }
        for key in ("input_data", "output_data"):
            row[key] = re.sub(
                r"\b[a-z_]{4,}\b",
                lambda found, names=names: names.get(found[0], found[0]) if rng.random() < 0.9 else found[0],
                row[key],
            )
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000)  # as the hub's files have it
    return sum(len(row["input_data"]) + len(row["output_data"]) for row in rows) // count


def watched(command: list[str]) -> dict:
    """Seconds and peak anonymous memory (MiB) of a command and its children."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.1)
    assert process.returncode == 0, command
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mib": peak // 2**20,
        "said": process.stdout.read(),
    }


def anonymous(pid: int) -> int:
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            text = Path(f"/proc/{member.pid}/smaps_rollup").read_text()
        except OSError:
            continue
        found = re.search(r"Pss_Anon:\s+(\d+) kB", text)
        total += int(found[1]) * 1024 if found else 0
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=191_008)
    parser.add_argument("--small", type=int, default=2_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    report: dict = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HOME"] = scratch
        for count in (args.small, args.rows):
            path = Path(scratch) / f"rows-{count}.parquet"
            size = make_rows(path, count)
            command = [sys.executable, "-m", "paceline", "data"]
            tokenized = watched([*command, "show", str(path), "--json"])
            again = watched([*command, "show", str(path), "--json"])
            cleaned = watched(
                [*command, "clean", str(path), "-o", str(path.with_suffix(".clean.parquet")), "--json"]
            )
            report[f"{count} rows"] = {
                "mean_bytes": size,
                "tokens": json.loads(tokenized.pop("said"))["length"],
                "tokenizing": tokenized,
                "from_cache": {k: v for k, v in again.items() if k != "said"},
                "cleaning_of_tokenized": {
                    **{k: v for k, v in cleaned.items() if k != "said"},
                    **json.loads(cleaned["said"]),
                },
            }
            if args.out:
                args.out.write_text(json.dumps(report, indent=1) + "\n")
    small, large = (report[f"{count} rows"]["tokenizing"] for count in (args.small, args.rows))
    report["peak_large_over_small"] = round(large["peak_mib"] / small["peak_mib"], 2)
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
