"""Is the CUDA path right on this machine's GPU, and how fast is it? At most nine minutes, no model hub.

    python benchmarks/gpu.py --out benchmarks/results

Correctness on a small base, a profile of one tick, then tokens a second on random bases of Qwen3's shapes:
one run alone, five in a cohort, five processes at once, TRL with packing and padding-free, each in a process
of its own (`gpu_arms.py`). What does not install or run is in the table with its reason. Writes
gpu-NAME.json. Sequences of 400 tokens, half of them supervised; LoRA r16 on all linears, dropout 0.05.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seconds", type=float, default=8.0, help="of training that each arm is timed over")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("no CUDA device on this machine: the benchmark needs one", file=sys.stderr)
        raise SystemExit(2)
    from gpu_checks import check, profile_tick

    began, device = time.monotonic(), torch.device("cuda")
    name = torch.cuda.get_device_name(device)
    found: dict[str, Any] = {
        "gpu": name,
        "torch": torch.__version__,
        "capability": torch.cuda.get_device_capability(device),
        "correctness": check(device),
        "profile": profile_tick(device),
        "tokens_per_second": {},
    }
    print(json.dumps(found["correctness"], indent=1))
    torch.cuda.empty_cache()
    for shape in SHAPES:
        for label, (arm, processes) in ARMS.items():
            left = LIMIT - (time.monotonic() - began)
            rate = run_arm(arm, shape, options.seconds, processes, left)
            found["tokens_per_second"].setdefault(shape, {})[label] = rate
            print(f"{shape:5} {label:18} {rate if isinstance(rate, str) else f'{rate:,.0f} tokens/s'}")
    found["seconds"] = time.monotonic() - began
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / f"gpu-{'-'.join(name.lower().split())}.json"
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written: {target}")
    raise SystemExit(0 if all(one["ok"] for one in found["correctness"].values()) else 1)


def run_arm(arm: str, shape: str, seconds: float, processes: int, left: float) -> float | str:
    """Tokens a second of all processes together, or why there are none."""
    if left < 2 * seconds:
        return "no time left"
    command = [sys.executable, str(Path(__file__).with_name("gpu_arms.py")), arm, shape, str(seconds)]
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


if __name__ == "__main__":
    main()
