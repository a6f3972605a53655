"""The benchmark of a GPU: correctness, a profile of one tick, tokens a second beside other trainers.

Each contender is a process of its own (`arms.py`). What does not install or run is in the table with its
reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from paceline.bench.arms import COUNT, READY
from paceline.errors import ConfigError
from paceline.runs.files import json_text

LIMIT = 9 * 60
# The contender in `arms.py`, and how many processes of it run at once.
ARMS = {
    "alone": ("paceline", 1),
    "five in a cohort": ("paceline-cohort", 1),
    "five processes": ("paceline", 5),
    "TRL": ("trl", 1),
    "TRL, five processes": ("trl", 5),
    "Unsloth": ("unsloth", 1),
    "Unsloth, five processes": ("unsloth", 5),
    "TRL with Liger": ("trl-liger", 1),
    "TRL, packing": ("trl-packing", 1),
    "TRL, padding-free": ("trl-padding-free", 1),
}
SHAPES = ("0.6B", "1.7B", "4B")


def run_benchmark(out: Path, seconds: float, log: Callable[[str], None]) -> bool:
    """Writes gpu-NAME.json and gpu-NAME.md into a folder; whether all that must hold did.

    At most nine minutes, no model hub. Sequences of 400 tokens, half of them supervised; LoRA r16 on all
    linears, dropout 0.05. All work is done in processes of their own, so none finds another's memory taken;
    the files are written anew after each.

    Args:
        seconds: of training that each contender is timed over.

    Raises:
        ConfigError: no CUDA device, or one on which not even the check runs.
    """
    if not torch.cuda.is_available():
        raise ConfigError("no CUDA device on this machine: the benchmark needs one")
    deadline = time.monotonic() + LIMIT
    checked = _run("check", "small", 0, 1, deadline)
    if isinstance(checked, str):
        raise ConfigError(f"the check of this machine's GPU does not run: {checked}")
    rates: dict[str, dict[str, float | str]] = {shape: {} for shape in SHAPES}
    found = {**checked[0], "profile": None, "mps": False, "tokens_per_second": rates}
    target = out / f"gpu-{'-'.join(str(found['gpu']).lower().split())}.json"
    out.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        target.write_text(json_text(found, indent=1) + "\n")
        target.with_suffix(".md").write_text(table(found))

    write()
    log(json.dumps(found["correctness"], indent=1))
    profiled = _run("profile", SHAPES[0], 0, 1, deadline)
    found["profile"] = profiled if isinstance(profiled, str) else profiled[0]
    with shared_gpu() as environment:
        found["mps"] = bool(environment)
        for shape in SHAPES:
            for label, (arm, count) in ARMS.items():
                said = _run(arm, shape, seconds, count, deadline, environment if count > 1 else {})
                rates[shape][label] = said if isinstance(said, str) else sum(said)
                write()
                log(f"{shape:5} {label:24} {_shown(rates[shape][label])}")
    log(f"written: {target} and {target.with_suffix('.md').name}")
    return all(one["ok"] for one in found["correctness"].values())


def table(found: dict[str, Any]) -> str:
    """The figures in Markdown: tokens a second by contender and base, and what was checked."""
    rates = found["tokens_per_second"]
    lines = [f"# {found['gpu']}, torch {found['torch']}", "", f"| tokens/s | {' | '.join(rates)} |"]
    lines += ["|---|" + "--:|" * len(rates)]
    lines += [
        f"| {label} | {' | '.join(_shown(of.get(label, '')) for of in rates.values())} |" for label in ARMS
    ]
    lines += ["", f"Processes at once share the GPU {'with' if found['mps'] else 'without'} MPS.", ""]
    lines += ["| checked | | |", "|---|---|---|"]
    for name, one in found["correctness"].items():
        bound = f", at most {one['at most']:.3g}" if "at most" in one else ""
        figure = one["figure"] if isinstance(one["figure"], str) else f"{one['figure']:.3g}"
        lines.append(f"| {name} | {'holds' if one['ok'] else 'DOES NOT HOLD'} | {figure}{bound} |")
    return "\n".join(lines) + "\n"


def _shown(rate: float | str) -> str:
    return rate if isinstance(rate, str) else f"{rate:,.0f}"


@contextmanager
def shared_gpu() -> Iterator[dict[str, str]]:
    """What the environment of several processes needs so that their kernels run at once (NVIDIA's MPS).

    Empty where its daemon is not there or may not run; then they take turns.
    """
    if (daemon := shutil.which("nvidia-cuda-mps-control")) is None:
        yield {}
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        told: dict[str, Any] = {"env": {**os.environ, **own}, "capture_output": True, "timeout": 30}
        # a daemon may start where its server cannot
        compute = [sys.executable, "-c", "import torch; torch.ones(1, device='cuda').item()"]
        try:
            yield own if _succeeds([daemon, "-d"], told) and _succeeds(compute, told) else {}
        finally:
            _succeeds([daemon], told | {"input": b"quit\n"})


def _succeeds(command: list[str], options: dict[str, Any]) -> bool:
    try:
        return subprocess.run(command, check=False, **options).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _run(
    arm: str,
    shape: str,
    seconds: float,
    count: int,
    deadline: float,
    environment: Mapping[str, str] | None = None,
) -> list[Any] | str:
    """What each of so many processes at once says of an arm (`arms.py`), or why one says nothing."""
    if deadline - time.monotonic() < 2 * seconds:
        return "no time left"
    command = [sys.executable, "-m", "paceline.bench.arms", arm, shape, str(seconds)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        told = {**os.environ, **(environment or {}), READY: str(folder), COUNT: str(count)}
        # files, not pipes: a process that nobody reads would stop at a full one
        outputs = [
            [stack.enter_context((folder / f"{number}.{kind}").open("w")) for kind in ("out", "err")]
            for number in range(count)
        ]
        started = [subprocess.Popen(command, stdout=out, stderr=err, env=told) for out, err in outputs]
        stack.callback(_end, started)
        while (running := [one for one in started if one.poll() is None]) and time.monotonic() < deadline:
            if any(one.returncode for one in started):
                break  # the others would wait for it
            time.sleep(0.05)
        last = [[_last_line(Path(file.name)) for file in pair] for pair in outputs]
        failed = next(
            ((one, err) for one, (_, err) in zip(started, last, strict=True) if one.returncode), None
        )
        if failed is not None:
            return (failed[1] or f"exit {failed[0].returncode}")[:200]
        if running:
            return "no time left"
    try:
        return [json.loads(out) for out, _ in last]
    except ValueError as error:
        return f"no figure: {error}"


def _last_line(file: Path) -> str:
    return next(reversed(file.read_text(errors="replace").strip().splitlines()), "")


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()
