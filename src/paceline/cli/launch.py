"""A study on other machines."""

from pathlib import Path
from typing import Annotated

import typer

from paceline.cli.options import Seeds, StudyFile, log
from paceline.errors import ConfigError


def launch(
    study: StudyFile,
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
        str | None,
        typer.Option(help="hf-jobs: how uv installs Paceline there; default: this very one, as a wheel."),
    ] = None,
    timeout: Annotated[str, typer.Option(help="hf-jobs: longest duration.")] = "12h",
    detach: Annotated[bool, typer.Option("--detach", help="hf-jobs: do not follow the log.")] = False,
    address: Annotated[
        str | None, typer.Option(help="ray: address of a cluster; default: one on this machine.")
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="ray: cohorts to cut the study into; default: one a GPU, or one a node."),
    ] = None,
    seeds: Seeds = None,
) -> None:
    """Train a study elsewhere: as a Hugging Face Job, or over the nodes of a Ray cluster.

    The same command goes on from where it was.
    """
    from paceline.config.replicates import parse_seeds

    chosen = parse_seeds(seeds)
    if on == "hf-jobs":
        from paceline.launch.hf_jobs import follow, submit

        job = submit(study, flavor, repository, package, timeout, log, chosen)
        log(f"job {job.id}: {job.url}; artefacts in {job.repository}")
        if not detach:
            print(follow(job, Path(runs), print, log))
    elif on == "ray":
        from paceline.launch.ray import launch as launch_ray

        launch_ray(study, runs, address, parts, log, chosen)
    else:
        raise ConfigError(
            f"--on {on!r}: there are hf-jobs and ray; "
            "for several GPUs of one machine: torchrun -m paceline train …"
        )
