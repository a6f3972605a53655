"""Commands that only read load neither torch nor transformers; the command line's files form no circle."""

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WRAPPED = """
import sys
from paceline.cli.main import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
finally:
    print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study's folder with six finished runs of 200 held-out examples, made without training."""
    from paceline.config.load import make_recipe
    from paceline.config.study import Run, Study
    from paceline.runs.directory import RunDirectory, RunStatus
    from paceline.runs.study import write_study_record

    folder = tmp_path_factory.mktemp("runs") / "made"
    names = [f"run-{number}" for number in range(6)]
    fields = {"base": "embedded", "data": {"source": "embedded:rust", "n": 800, "eval_ratio": 0.25}}
    runs = [Run(name=name, recipe=make_recipe({**fields, "seed": n}, name)) for n, name in enumerate(names)]
    for number, run in enumerate(runs):
        directory = RunDirectory(folder / run.name)
        directory.claim(run.recipe)
        write_run(directory, lower_by=0.02 * number)
        directory.set_status(RunStatus(state="finished", step=30, tokens=60_000, seconds=20.0))
    write_study_record(Study(name="made", runs=runs), folder)
    return folder


def write_run(directory: Any, lower_by: Any) -> None:
    """Log, losses and an adapter's files of a run whose losses are lower than the base's by so much."""
    import numpy as np

    from paceline.runs.events import EventLog, StartEvent, TrainEvent
    from paceline.runs.losses import ExampleLosses

    rng = np.random.default_rng(0)
    tokens = rng.integers(20, 200, 200)
    base = tokens * rng.normal(2.5, 0.3, 200)
    for name, loss in (("base", base), ("final", base - lower_by * tokens * rng.uniform(0.5, 1.5, 200))):
        ExampleLosses(
            source=["embedded:rust:train"] * 200,
            row=np.arange(200),
            task=["code_review"] * 200,
            tokens=tokens,
            loss=loss,
            correct=tokens // 2,
            kl=np.full(200, np.nan),
            answer=tokens,
        ).save(directory.eval / f"{name}.parquet")
    log = EventLog(directory.events)
    counts = {"examples": 800, "dropped_no_assistant": 0, "truncated": 0, "answers_lost": 0, "train": 600}
    log.write(StartEvent(total_steps=30, steps_per_epoch=30, eval=200, **counts))
    for step in (10, 20, 30):
        figures = {"loss": 2.5 - step / 100, "lr": 1e-3, "grad_norm": 0.5, "token_accuracy": 0.5}
        counts = {"tokens": 2000 * step, "supervised_tokens": 1000 * step, "seconds": float(step)}
        log.write(TrainEvent(step=step, epoch=step / 30, **figures, **counts))
    log.close()
    directory.adapter.mkdir()
    (directory.adapter / "adapter_config.json").write_text(json.dumps({"r": 16}))
    (directory.adapter / "adapter_model.safetensors").write_bytes(b"")


def run(*arguments: Any) -> Any:
    """(standard output without the last line, the heavy modules that were loaded, CPU seconds)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", WRAPPED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    *output, heavy = done.stdout.splitlines()
    return "\n".join(output), ast.literal_eval(heavy), seconds


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("compare", "{study}"), "run-5 has the lowest held-out loss"),
        (("report", "{study}", "-o", "{study}/report"), "written: "),
        (("watch", "{study}"), "30/30"),
        (("fetch-metrics", "{study}"), "18 points"),
        (("doctor", "{study}"), ""),
        (("doctor", "{study}/run-0/events.jsonl", "--explain", "zero-gradient"), "Computed: "),
        (("study", "show", "studies/rust-five-recipes.yaml"), "exp-baseline-10k"),
        (("presets",), "small-batch"),
        (("push", "{study}/run-0", "--to", "someone/run-0", "--dry-run"), "adapter_model.safetensors"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_that_reads_loads_no_torch(finished: Any, arguments: Any, told: Any) -> None:
    output, heavy, _ = run(*(part.format(study=finished) for part in arguments))
    assert told in output
    assert heavy == []


def fastest(*arguments: Any) -> Any:
    """CPU seconds of the best of three tries: other processes on the machine slow each of them."""
    return min(run(*arguments)[2] for _ in range(3))


def test_help_comes_at_once() -> None:
    """Under half a second of an idle core; twice that is left to a busy machine."""
    assert run("--help")[1] == []
    assert fastest("--help") < 1.0


def test_a_comparison_of_six_runs_comes_soon(finished: Any) -> None:
    """A second and a half of an idle core; twice that is left to a busy machine."""
    assert fastest("compare", finished) < 3.0


def test_no_command_file_imports_another_that_imports_it() -> None:
    folder = ROOT / "src" / "paceline" / "cli"
    imports = {path.stem: imported(path) for path in folder.glob("*.py")}
    for name in imports:
        assert name not in reached(name, imports), f"cli/{name}.py is in a circle"


def imported(path: Any) -> Any:
    """The files of the command line that a file imports anywhere in it."""
    tree = ast.parse(path.read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    inside = [
        node.module.removeprefix("paceline.cli.") for node in nodes if node.module.startswith("paceline.cli.")
    ]
    packages = [alias.name for node in nodes if node.module == "paceline.cli" for alias in node.names]
    return {*inside, *packages}


def reached(name: Any, imports: Any) -> Any:
    """All files that a file's imports lead to."""
    found, waiting = set(), list(imports[name])
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += imports.get(other, ())
    return found
