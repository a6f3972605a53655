"""The hub: names, the token, uploads and downloads, each tried again where that may help."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from paceline.errors import ConfigError, ServiceError

Answer = TypeVar("Answer")
Log = Callable[[str], None]
# Pauses before trying again, in seconds: a busy hub, a fault of its own, a connection that broke.
PAUSES = (0.5, 2.0, 8.0)
_ADVICE = {
    401: "the hub does not know the token; log in with `hf auth login`, or set HF_TOKEN",
    403: "the token may not write there; take one with write access, or another name",
    404: "there is no such account or repository",
    409: "the repository is there and is something else, or another upload came between",
}
_HTTP_LIBRARIES = ("httpx", "httpcore", "httpx2")


def silent(line: str) -> None:
    """A log for those who want none."""


def check_name(name: str) -> None:
    """Refuses what the hub would not accept as a repository's name.

    Raises:
        ConfigError: it is not USER/NAME, or has characters that the hub does not allow.
    """
    if reason := why_invalid(name):
        raise ConfigError(f"{name!r} cannot be a repository on the hub: {reason}")
    if "/" not in name:
        raise ConfigError(f"{name!r} cannot be a repository on the hub: it needs an account, as in USER/NAME")


def why_invalid(name: str) -> str:
    """Why the hub would not accept a name, or nothing."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        return str(error).removesuffix(".").removesuffix(f": {name!r}")
    return ""


def need_token() -> str:
    """The token of the environment or of the hub's own login."""
    token = get_token()
    if token is None:
        raise ServiceError("no token for the hub; log in with `hf auth login`, or set HF_TOKEN")
    return token


def account(log: Log) -> str:
    """The name that the token belongs to."""
    api = HfApi(token=need_token())
    return str(call_hub("name the account", log, lambda: api.whoami()["name"]))


def upload(folder: Path, name: str, message: str, public: bool = False, log: Log = silent) -> None:
    """Uploads a folder's files into a repository, which is made if it is missing."""
    check_name(name)
    api = HfApi(token=need_token())

    def send() -> None:
        api.upload_folder(folder_path=str(folder), repo_id=name, commit_message=message)

    call_hub("create it", log, lambda: api.create_repo(name, private=not public, exist_ok=True))
    call_hub("take it", log, send)


def pull(name: str, out: Path, log: Log = silent) -> Path:
    """Downloads a repository's files into a folder; files that are there already are not fetched again."""
    check_name(name)
    api = HfApi(token=get_token())
    call_hub("give it", log, lambda: api.snapshot_download(name, local_dir=str(out)))
    shutil.rmtree(out / ".cache", ignore_errors=True)
    return out


def call_hub(what: str, log: Log, call: Callable[[], Answer], repeatable: bool = True) -> Answer:
    """Calls the hub, and again where that may help.

    Args:
        what: what it is asked to do, for the error: `give it`.
        repeatable: False for a call that must not happen twice: it is repeated only where the hub has
        surely done
            nothing.

    Raises:
        ServiceError: one line without the token, and what to do.
    """
    for pause in (*PAUSES, None):
        try:
            return call()
        except Exception as error:
            reason, again = _judge(error, repeatable)
        if not again or pause is None:
            raise ServiceError(
                f"the hub refuses to {what} ({reason}); nothing here is lost, the same command goes on"
            ) from None
        log(f"the hub answered {reason}; trying again in {pause:g} s")
        time.sleep(pause)
    raise AssertionError


def _judge(error: Exception, repeatable: bool) -> tuple[str, bool]:
    """What went wrong, in a few words, and whether to try again; raises what is not the hub's fault."""
    if isinstance(error, HfHubHTTPError):
        status = getattr(error.response, "status_code", None)
        advice = f": {_ADVICE[status]}" if status in _ADVICE else ""
        busy, at_fault = status == 429, status is not None and status >= 500
        return f"{status}{advice}", busy or (repeatable and at_fault)
    connection_broke = isinstance(error, OSError)
    if not connection_broke and type(error).__module__.split(".")[0] not in _HTTP_LIBRARIES:
        raise error
    return type(error).__name__, repeatable and not constants.HF_HUB_OFFLINE
