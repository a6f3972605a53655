"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[Path, typer.Option("--runs", help="Folder of the run directories.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result for a script.")]
Check = Annotated[
    bool,
    typer.Option("--check/--no-check", help="Look for what will go wrong before training; errors end it."),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--token-budget", min=1, help="Tokens of one forward: more is faster on a GPU, less saves memory."
    ),
]
Extend = Annotated[
    bool,
    typer.Option("--extend", help="Go on with runs that began with fewer steps or other logging."),
]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", help="Train every recipe with so many seeds (3), or with these (1,2,3)."),
]
Noise = Annotated[
    Path | None,
    typer.Option(
        "--noise", help="Earlier study of the same base and data: how much a loss moves with the seed."
    ),
]
StudyFile = Annotated[Path, typer.Argument(help="Study file (YAML).")]

Temperature = Annotated[float, typer.Option(min=0, help="0: greedy.")]
TopP = Annotated[
    float,
    typer.Option(min=0, max=1, help="Draw from the likeliest tokens that together have this probability."),
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer in tokens.")]
Thinking = Annotated[bool, typer.Option(help="Let a base that can think before its answer.")]
Seed = Annotated[int, typer.Option(help="Seed of the sampling.")]


def log(line: str) -> None:
    """A line beside the result, on standard error."""
    import sys

    print(line, file=sys.stderr)
