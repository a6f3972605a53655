"""How right and how fast training is on this machine's GPU."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for gpu-NAME.json and gpu-NAME.md.")
    ] = Path("."),
    seconds: Annotated[
        float, typer.Option(min=1, max=60, help="Of training that each contender is timed over.")
    ] = 8.0,
) -> None:
    """Check training on this machine's GPU against its CPU, and time it beside TRL and others: nine minutes.

    Random bases of Qwen3's shapes (0.6B, 1.7B, 4B), nothing from a hub. Exit code 1: a check does not hold.
    """
    from paceline.bench.gpu import run_benchmark

    if not run_benchmark(out, seconds, print):
        raise typer.Exit(1)
