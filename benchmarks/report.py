"""How long a report's page takes to open: 60 runs of 2,000 logged steps, in headless Chromium.

    python benchmarks/report.py --out benchmarks/results/report-cpu.json

The runs are copies of one that was really trained, with logs stretched to 2,000 lines. Times are to the load
event, and to the loss chart (120 curves) with the library that draws it, on a new browser each time; the
page's size and the time to write it (on the clock, and of one core) are printed beside them.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

RUNS, STEPS = 60, 2000


def make_study(folder: Path) -> None:
    from paceline.config.load import make_recipe
    from paceline.config.study import Run, Study
    from paceline.runs.directory import RunDirectory
    from paceline.runs.study import write_study_record
    from paceline.training.study import train_study

    common = {
        "base": "embedded",
        "data": {"source": "embedded:rust", "n": 60, "eval_ratio": 0.3},
        "batch_size": 4,
        "grad_accum": 1,
        "max_steps": 4,
        "logging_steps": 1,
    }
    recipe = make_recipe(common, "benchmark")
    train_study(Study(name="sixty", runs=[Run(name="run-0", recipe=recipe)]), folder)
    events = [json.loads(line) for line in (folder / "run-0" / "events.jsonl").read_text().splitlines()]
    lines = [event for event in events if event["event"] == "train"]
    long = [
        {
            **lines[step % len(lines)],
            "step": step + 1,
            "tokens": 1000 * step,
            "loss": 2.0 - step / STEPS + (step * 7919 % 100) / 500,
        }
        for step in range(STEPS)
    ]
    rest = [event for event in events if event["event"] != "train"]
    text = "".join(json.dumps(event) + "\n" for event in [*rest[:2], *long, *rest[2:]])
    for number in range(RUNS):
        place = folder / f"run-{number}"
        if number:
            shutil.copytree(folder / "run-0", place)
        (place / "events.jsonl").write_text(text)
        directory = RunDirectory(place)
        directory.set_status(directory.status())  # with the log's new digest
    write_study_record(
        Study(name="sixty", runs=[Run(name=f"run-{number}", recipe=recipe) for number in range(RUNS)]), folder
    )


def open_page(page: Path) -> tuple[float, float]:
    """Milliseconds to the load event, and to read the chart library and draw the loss chart."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (
            "headless",
            "no-sandbox",
            "disable-gpu",
            "no-first-run",
            "disable-background-networking",
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{flag}")
        driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
        try:
            driver.get(page.as_uri())
            loaded = driver.execute_script(
                "return performance.getEntriesByType('navigation')[0].loadEventEnd"
            )
            drawn = driver.execute_script(
                "const t = performance.now(); draw(document.querySelector('.chart')); "
                "return performance.now() - t"
            )
            return float(loaded), float(drawn)
        finally:
            driver.quit()


def figures(times: list[float]) -> dict[str, int]:
    return {"median": round(statistics.median(times)), "worst": round(max(times))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    from paceline.report.collect import collect_study
    from paceline.report.export import write_report

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sixty"
        make_study(folder)
        began, worked = time.perf_counter(), time.process_time()
        _, page = write_report(collect_study(folder), folder)
        writing, work = time.perf_counter() - began, time.process_time() - worked
        times = [open_page(page) for _ in range(args.repeats)]
        report = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "load_average": round(os.getloadavg()[0], 1),
            "runs": RUNS,
            "points_a_run": STEPS,
            "page_mb": round(page.stat().st_size / 1e6, 1),
            "writing_s": round(writing, 1),
            "writing_cpu_s": round(work, 1),
            "opening_ms": figures([load for load, _ in times]),
            "drawing_the_loss_chart_ms": figures([draw for _, draw in times]),
        }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
