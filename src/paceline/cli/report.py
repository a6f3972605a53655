"""The report of a study."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.options import Json, Noise


def report(
    study: Annotated[Path, typer.Argument(help="A study's folder, or a run directory.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write into; default: the study's.")
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", min=0, help="What an hour of training costs.")
    ] = None,
    noise: Noise = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Folder for plots (PNG, SVG) and tables (CSV, LaTeX) for papers."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write report.md and a self-contained report.html."""
    from paceline.api.console import SafeConsole
    from paceline.api.inspection import write_report
    from paceline.runs.files import json_text

    with SafeConsole(stderr=True).status("reading the runs, drawing intervals"):
        written = write_report(study, out, price, noise, figures)
    files = [str(written.markdown), str(written.html), *map(str, written.figures)]
    if as_json:
        print(json_text({"files": files, "conclusions": written.conclusions}, indent=1))
        return
    for sentence in written.conclusions:
        print(f"- {sentence}")
    print(f"written: {', '.join(files[:2])}")
    if figures is not None:
        print(f"written: {len(written.figures)} files in {figures}")


def watch(
    study: Annotated[
        Path, typer.Argument(help="A study's folder, or a run directory; also a copied or mounted one.")
    ],
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Follow a study in the terminal until nothing of it is left to do; without a terminal, print it once."""
    import sys
    import time

    from rich.live import Live

    from paceline.cli.tables import output
    from paceline.report.watch import render

    console = output()
    shown, done = render(study)
    if not sys.stdout.isatty():
        console.print(shown)
        return
    with Live(shown, console=console, auto_refresh=False) as live:
        while not done:
            time.sleep(every)
            shown, done = render(study)
            live.update(shown, refresh=True)
