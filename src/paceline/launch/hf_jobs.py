"""A study as a Hugging Face Job: sent there, followed, and brought back."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, hf_hub_url

from paceline.config.load import load_study
from paceline.config.replicates import Seeds, with_seeds
from paceline.config.study import Study
from paceline.config.yaml_text import read_yaml
from paceline.errors import ServiceError
from paceline.export.hub import account, call_hub, need_token, pull, upload
from paceline.launch.wheel import write_wheel

# What a job needs of the environment here, sent through the API's own field for secrets.
_SECRETS = ("OPENAI_API_KEY", "PACELINE_KEY_HOSTS", "TRACKIO_SERVER_URL")
# What a study may need beside the package itself.
_EXTRAS = "quant,judge,track"


@dataclass(frozen=True)
class Job:
    """A job under way: its id, where it can be watched, and its private repository.

    The repository holds the study and what comes of it.
    """

    id: str
    url: str
    repository: str


def submit(
    file: Path,
    flavor: str,
    repository: str | None,
    package: str | None,
    timeout: str,
    log: Callable[[str], None],
    seeds: Seeds | None = None,
) -> Job:
    """Puts the study into a private repository and starts the job that trains it.

    Started again, a job goes on from what the repository holds.

    Args:
        package: how uv installs Paceline there; None: from the wheel of this one, put beside the study.
        seeds: those of every run, in place of what the file says.

    Raises:
        ServiceError: no token; data or a base that lie on this machine; the hub refuses.
    """
    study = load_study(file, seeds=seeds)
    _refuse_local(study)
    _tell_of_trackio(study, log)
    token = need_token()
    api: Any = HfApi(token=token)
    name = repository or f"{account(log)}/paceline-{study.name}"
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "study.yaml").write_text(_study_text(file, seeds))
        if package is None:
            wheel = write_wheel(Path(scratch))
            package = f"paceline[{_EXTRAS}] @ {hf_hub_url(name, wheel, endpoint=api.endpoint)}"
        upload(Path(scratch), name, f"study {study.name}", False, log)
    secrets = {"HF_TOKEN": token} | {key: os.environ[key] for key in _SECRETS if key in os.environ}

    def start() -> Any:
        with warnings.catch_warnings():
            # huggingface_hub calls its jobs experimental, which helps nobody here
            warnings.simplefilter("ignore", UserWarning)
            return api.run_uv_job(
                "python",
                script_args=["-m", "paceline.launch.job", name],
                dependencies=[package],
                flavor=flavor,
                timeout=timeout,
                secrets=secrets,
                name=f"paceline-{study.name}",
            )

    # not repeated: an answer that was lost may have started a job that costs money
    job = call_hub("start it", log, start, repeatable=False)
    return Job(job.id, job.url, name)


def follow(job: Job, out: Path, show: Callable[[str], None], log: Callable[[str], None]) -> Path:
    """Shows a job's log until it ends, then brings its run directories here.

    Raises:
        ServiceError: the job did not complete; what it had done is brought all the same.
    """
    api: Any = HfApi(token=need_token())

    def read() -> str:
        for line in api.fetch_job_logs(job_id=job.id, follow=True):
            show(line)
        return str(api.inspect_job(job_id=job.id).status.stage)

    stage = call_hub("follow it", log, read)
    pull(job.repository, out, log)
    if stage != "COMPLETED":
        raise ServiceError(
            f"job {job.id} ended as {stage}; what it had done is in {out}; "
            f"the same command goes on from there ({job.url})"
        )
    return out


def _study_text(file: Path, seeds: Seeds | None) -> str:
    """The study's file as it is sent."""
    if seeds is None:
        return file.read_text()
    return yaml.safe_dump(with_seeds(read_yaml(file), seeds), sort_keys=False, allow_unicode=True)


def _tell_of_trackio(study: Study, log: Callable[[str], None]) -> None:
    lost = [run.name for run in study.runs if run.recipe.track == "trackio" and not run.recipe.track_space]
    if lost and "TRACKIO_SERVER_URL" not in os.environ:
        log(
            f"Trackio's dashboard of {', '.join(lost)} ends with the job, on whose disk it is; "
            "set track_space to keep it (the logs themselves come back)"
        )


def _refuse_local(study: Study) -> None:
    for run in study.runs:
        sources = [part.source for part in run.recipe.data.parts()]
        for what, value in [("base", run.recipe.base), *(("data", source) for source in sources)]:
            if (
                value
                and not value.startswith("embedded")
                and (Path(value).exists() or value.startswith((".", "/", "~")))
            ):
                raise ServiceError(
                    f"run {run.name}: {what} {value!r} lies on this machine, where a job cannot read it; "
                    "put it on the hub first"
                )
