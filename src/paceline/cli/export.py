"""From a finished run to something that others can use."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.train import Json
from paceline.errors import ConfigError, PacelineError

Run = Annotated[Path, typer.Argument(help="Run directory.")]


def log(line: str) -> None:
    """A line beside the result."""
    import sys

    print(line, file=sys.stderr)


def merge(
    run: Run,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write the model into.")],
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
    gguf: Annotated[
        Path | None, typer.Option(help="Write a GGUF file too, with llama.cpp's converter.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Merge an adapter into its base's weights; refused where the merged model's logits are not the adapter's."""
    import json

    from paceline.export.merge import TOLERANCE, to_gguf
    from paceline.export.merge import merge as merge_run

    if dtype not in TOLERANCE:
        raise ConfigError(f"no type {dtype!r}; there are {', '.join(TOLERANCE)}")
    found = merge_run(run, out, dtype)
    if gguf is not None:
        to_gguf(out, gguf)
    if as_json:
        print(json.dumps(found))
        return
    print(
        f"{out}: in {dtype}, logits off by at most {found['error']:.1e} of the largest on {found['prompts']} prompts (tolerance {found['tolerance']:g})"
    )


def push(
    run: Run,
    to: Annotated[str, typer.Option("--to", help="USER/NAME on the hub.")],
    merged: Annotated[
        bool, typer.Option("--merged", help="The merged model in place of the adapter.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Not private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which files it would be.")] = False,
    as_json: Json = False,
) -> None:
    """Put a run on the hub with its model card. The token comes from HF_TOKEN or the hub's own login. Broken off, the same command goes on."""
    import json

    from paceline.export.push import push as push_run

    files = push_run(run, to, merged, public, dry_run, log)
    if as_json:
        print(json.dumps({"repository": to, "files": files, "uploaded": not dry_run}))
        return
    print("\n".join(files) if dry_run else f"{to}: {len(files)} files")


def push_after(run: Path, name: str | None) -> Callable[[], None]:
    """Checks the token before training, and gives what pushes the run after it."""
    from paceline.export.push import account, need_token
    from paceline.export.push import push as push_run

    need_token()

    def finish() -> None:
        if int(os.environ.get("RANK", "0")) > 0:  # torchrun: the first process pushes
            return
        to = name or f"{account(log)}/{run.name}"
        try:
            push_run(run, to, log=log)
        except PacelineError as error:
            raise ConfigError(f"{error}: paceline push {run} --to {to}") from error
        log(f"pushed to {to}")

    return finish


def pull(
    name: Annotated[str, typer.Argument(help="USER/NAME on the hub.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to put the files into.")],
) -> None:
    """Bring a repository's files here: a run, or what a job has left."""
    from paceline.export.push import pull as pull_files

    print(pull_files(name, out, log))


def launch(
    study: Annotated[Path, typer.Argument(help="Study file (YAML).")],
    on: Annotated[str, typer.Option("--on", help="hf-jobs or ray.")],
    runs: Annotated[
        str,
        typer.Option(
            "--runs", help="Folder of the run directories; for ray an fsspec URL that all nodes reach."
        ),
    ] = "runs",
    flavor: Annotated[str, typer.Option(help="hf-jobs: the machine.")] = "a10g-large",
    repository: Annotated[
        str | None,
        typer.Option(
            help="hf-jobs: private repository for what comes of it; default: paceline-STUDY of your account."
        ),
    ] = None,
    package: Annotated[
        str, typer.Option(help="hf-jobs: how uv installs Paceline there.")
    ] = "paceline[quant,judge,track]",
    timeout: Annotated[str, typer.Option(help="hf-jobs: longest duration.")] = "12h",
    detach: Annotated[bool, typer.Option("--detach", help="hf-jobs: do not follow the log.")] = False,
    address: Annotated[
        str | None, typer.Option(help="ray: address of a cluster; default: one on this machine.")
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="ray: cohorts to cut the study into; default: one a GPU, or one a node."),
    ] = None,
) -> None:
    """Train a study elsewhere: as a Hugging Face Job, or over the nodes of a Ray cluster. Started again, it goes on where it was."""

    if on == "hf-jobs":
        from paceline.launch.hf_jobs import follow, submit

        job = submit(study, flavor, repository, package, timeout, log)
        log(f"job {job.id}: {job.url}; artefacts in {job.repository}")
        if not detach:
            print(follow(job, Path(runs), print, log))
    elif on == "ray":
        from paceline.launch.ray import launch as launch_ray

        launch_ray(study, runs, address, parts, log)
    else:
        raise ConfigError(
            f"--on {on!r}: there are hf-jobs and ray; for several GPUs of one machine: torchrun -m paceline train …"
        )
