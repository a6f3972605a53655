"""The benchmark of a GPU: correctness, a profile of one tick, tokens a second beside other trainers.

Each contender is a process of its own (`arms.py`). What does not install or run is in the table with its
reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from paceline.bench.checks import check, profile_tick
from paceline.errors import ConfigError
from paceline.runs.files import json_text

LIMIT = 9 * 60
ARMS = {
    "alone": ("paceline", 1),
    "five in a cohort": ("paceline-cohort", 1),
    "five processes": ("paceline", 5),
    "TRL, packing": ("trl-packing", 1),
    "TRL, padding-free": ("trl-padding-free", 1),
    "TRL with Liger": ("trl-liger", 1),
    "Unsloth": ("unsloth", 1),
}
SHAPES = ("0.6B", "1.7B", "4B")


def run_benchmark(out: Path, seconds: float, log: Callable[[str], None]) -> bool:
    """Writes gpu-NAME.json into a folder; whether all that must hold did. At most nine minutes, no model hub.

    Sequences of 400 tokens, half of them supervised; LoRA r16 on all linears, dropout 0.05.

    Args:
        seconds: of training that each contender is timed over.

    Raises:
        ConfigError: no CUDA device.
    """
    if not torch.cuda.is_available():
        raise ConfigError("no CUDA device on this machine: the benchmark needs one")
    began, device = time.monotonic(), torch.device("cuda")
    name = torch.cuda.get_device_name(device)
    rates: dict[str, dict[str, float | str]] = {}
    found: dict[str, Any] = {
        "gpu": name,
        "torch": torch.__version__,
        "capability": torch.cuda.get_device_capability(device),
        "correctness": check(device),
        "profile": profile_tick(device),
        "tokens_per_second": rates,
    }
    log(json.dumps(found["correctness"], indent=1))
    torch.cuda.empty_cache()
    for shape in SHAPES:
        for label, (arm, processes) in ARMS.items():
            left = LIMIT - (time.monotonic() - began)
            rate = _run_arm(arm, shape, seconds, processes, left)
            rates.setdefault(shape, {})[label] = rate
            log(f"{shape:5} {label:18} {rate if isinstance(rate, str) else f'{rate:,.0f} tokens/s'}")
    found["seconds"] = time.monotonic() - began
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"gpu-{'-'.join(name.lower().split())}.json"
    target.write_text(json_text(found, indent=1) + "\n")
    log(f"written: {target}")
    return all(one["ok"] for one in found["correctness"].values())


def _run_arm(arm: str, shape: str, seconds: float, processes: int, left: float) -> float | str:
    """Tokens a second of all processes together, or why there are none."""
    if left < 2 * seconds:
        return "no time left"
    command = [sys.executable, "-m", "paceline.bench.arms", arm, shape, str(seconds)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    rates, deadline = [], time.monotonic() + left
    try:
        for process in started:
            out, err = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
            if process.returncode != 0:
                return (err.strip().splitlines() or [f"exit {process.returncode}"])[-1][:200]
            rates.append(float(out.strip().splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return "no time left"
    finally:
        for process in started:
            process.kill()
            process.wait()
    return sum(rates)
