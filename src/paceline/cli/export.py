"""From a finished run to something that others can use: merge, push, pull."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.options import Json, Noise, log
from paceline.errors import ConfigError, PacelineError

Run = Annotated[Path, typer.Argument(help="Run directory; a recipe with replicates by its first one's.")]
Replicate = Annotated[
    str,
    typer.Option("--replicate", help="Of a recipe with replicates: median (by held-out loss), or a seed."),
]


def merge(
    run: Run,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write the model into.")],
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
    gguf: Annotated[
        Path | None, typer.Option(help="Write a GGUF file too, with llama.cpp's converter.")
    ] = None,
    replicate: Replicate = "median",
    as_json: Json = False,
) -> None:
    """Merge an adapter into its base's weights.

    Refused where the merged model's logits are not the adapter's.
    """
    from dataclasses import asdict

    from paceline.export.gguf import to_gguf
    from paceline.export.merge import merge as merge_run
    from paceline.export.replicate import choose_replicate
    from paceline.runs.files import json_text

    result = merge_run(choose_replicate(run, replicate, log), out, dtype)
    if gguf is not None:
        to_gguf(out, gguf)
    if as_json:
        print(json_text(asdict(result)))
        return
    print(
        f"{out}: in {dtype}, logits off by at most {result.error:.1e} of the largest "
        f"on {result.prompts} prompts (tolerance {result.tolerance:g})"
    )


def push(
    run: Run,
    to: Annotated[str, typer.Option("--to", help="USER/NAME on the hub.")],
    merged: Annotated[
        bool, typer.Option("--merged", help="The merged model in place of the adapter.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Not private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which files it would be.")] = False,
    replicate: Replicate = "median",
    noise: Noise = None,
    as_json: Json = False,
) -> None:
    """Put a run on the hub with its model card.

    The token comes from HF_TOKEN or the hub's own login. After an interruption the same command goes on.
    """
    from dataclasses import asdict

    from paceline.export.push import push as push_run
    from paceline.runs.files import json_text

    result = push_run(run, to, merged, public, dry_run, log, replicate, noise)
    if as_json:
        print(json_text(asdict(result)))
        return
    print("\n".join(result.files) if dry_run else f"{to}: {len(result.files)} files")


def push_after(run: Path, name: str | None) -> Callable[[], None]:
    """Checks the token before training, and gives what pushes the run after it."""
    from paceline.export.hub import account, check_name, need_token
    from paceline.export.push import push as push_run

    need_token()
    if name is not None:
        check_name(name)

    def finish() -> None:
        if int(os.environ.get("RANK", "0")) > 0:  # torchrun: the first process pushes
            return
        to = name or f"{account(log)}/{run.name}"
        try:
            push_run(run, to, log=log)
        except PacelineError as error:
            raise ConfigError(f"{error}: paceline push {shlex.quote(str(run))} --to {to}") from error
        log(f"pushed to {to}")

    return finish


def pull(
    name: Annotated[str, typer.Argument(help="USER/NAME on the hub.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to put the files into.")],
) -> None:
    """Download a repository from the hub: a run, or what a job has left."""
    from paceline.export.hub import pull as pull_files

    print(pull_files(name, out, log))
