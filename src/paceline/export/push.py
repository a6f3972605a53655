"""A run on the hub: adapter or merged model, with its card and recipe. Private by default."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError

from paceline.errors import ServiceError

T = TypeVar("T")
# Pauses before trying again, in seconds: a busy hub, a fault of its own, a line that was cut.
PAUSES = (0.5, 2.0, 8.0)
_ADVICE = {
    401: "the hub does not know the token; log in with `hf auth login`, or set HF_TOKEN",
    403: "the token may not write there; take one with write access, or another name",
    404: "there is no such account or repository",
    409: "the repository is there and is something else, or another upload came between",
}


def stage(run: Path, name: str, folder: Path, merged: bool) -> list[str]:
    """Puts what would be uploaded into a folder and returns the files' names.

    Raises:
        ServiceError: the run has not finished.
    """
    from paceline.data.chat import load_tokenizer
    from paceline.evaluate.adapters import adapter_folder
    from paceline.export.merge import merge
    from paceline.report.card import model_card
    from paceline.runs.directory import RunDirectory

    directory = RunDirectory(run)
    if directory.status().state != "finished":
        raise ServiceError(f"{run}: {directory.status().state}, not finished; only finished runs are pushed")
    if merged:
        merge(run, folder / "model")
        for file in (folder / "model").iterdir():
            file.rename(folder / file.name)
        (folder / "model").rmdir()
    else:
        for file in adapter_folder(run).iterdir():
            shutil.copy2(file, folder / file.name)
        load_tokenizer(directory.recipe().base).save_pretrained(str(folder))
    shutil.copy2(directory.recipe_file, folder / "recipe.yaml")
    (folder / "README.md").write_text(model_card(run, name, merged))
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def push(
    run: Path,
    name: str,
    merged: bool = False,
    public: bool = False,
    dry_run: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Uploads a run as NAME and returns the files' names; `dry_run` only gathers them. Files that the hub has already are not sent again.

    Raises:
        ServiceError: no token, or the hub refuses; the run itself is untouched and the same command goes on.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = stage(run, name, folder, merged)
        if dry_run:
            return files
        upload(folder, name, f"run {run.resolve().name}", public, log)
    return files


def upload(
    folder: Path,
    name: str,
    message: str,
    public: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Uploads a folder's files into a repository, which is made if it is missing."""
    token = need_token()
    api = HfApi(token=token)
    asked("create", log, lambda: api.create_repo(name, private=not public, exist_ok=True))
    asked(
        "upload to",
        log,
        lambda: api.upload_folder(folder_path=str(folder), repo_id=name, commit_message=message),
    )


def need_token() -> str:
    """The token of the environment or of the hub's own login."""
    token = get_token()
    if token is None:
        raise ServiceError("no token for the hub; log in with `hf auth login`, or set HF_TOKEN")
    return token


def account(log: Callable[[str], None]) -> str:
    """The name that the token belongs to."""
    api: Any = HfApi(token=need_token())
    return str(asked("name", log, lambda: api.whoami()["name"]))


def asked(what: str, log: Callable[[str], None], call: Callable[[], T], repeatable: bool = True) -> T:
    """Asks the hub, again where that may help; what is not `repeatable` only where the hub has surely done nothing.

    Raises:
        ServiceError: one line without the token, and what to do.
    """
    for pause in (*PAUSES, None):
        try:
            return call()
        except HfHubHTTPError as error:
            status = getattr(error.response, "status_code", None)
            reason = f"{status}" + (f": {_ADVICE[status]}" if status in _ADVICE else "")
            again = status == 429 or (repeatable and status is not None and status >= 500)
        except OSError as error:  # the line: refused, cut, timed out
            reason, again = type(error).__name__, repeatable
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("httpx", "httpcore", "httpx2"):
                raise
            reason, again = type(error).__name__, repeatable
        if not again or pause is None:
            raise ServiceError(
                f"the hub refuses to {what} it ({reason}); nothing here is lost, the same command goes on"
            ) from None
        log(f"the hub answered {reason}; trying again in {pause:g} s")
        time.sleep(pause)
    raise AssertionError


def pull(name: str, out: Path, log: Callable[[str], None] = lambda line: None) -> Path:
    """Brings a repository's files into a folder; files that are there already are not fetched again."""
    api: Any = HfApi(token=get_token())
    asked("give", log, lambda: api.snapshot_download(name, local_dir=str(out)))
    shutil.rmtree(out / ".cache", ignore_errors=True)
    return out
