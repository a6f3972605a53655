"""Files and folders that are there whole or not at all."""

import errno
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paceline.errors import RunError

# What a full disk, a quota or a limit on a file's size say, as numbers and as libraries word them.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_SAID = re.compile(rf"\(os error ({'|'.join(map(str, _FULL))})\)|{os.strerror(errno.ENOSPC)}")

# What a JSON object is read as, and written from.
JsonObject = dict[str, Any]


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A scratch folder that becomes `target` when the block ends well.

    A kill at any instant leaves the old folder or the new one.
    """
    scratch = target.with_name(f".{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for path in scratch.iterdir():
            _sync(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)  # on a full disk it is in the way
        raise
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    scratch.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """A disk without room or inodes becomes one line: what was saved before is whole.

    Raises:
        RunError: in place of the system's error, or of a library's that only words it.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) not in _FULL and not _FULL_SAID.search(str(error)):
            raise
        raise RunError(
            f"{folder}: no room left on the disk, or no inodes; every run is safe at its last checkpoint, "
            "and the same command goes on once there is room"
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Writes a text file in one step."""
    scratch = path.with_name(f".{path.name}.partial")
    scratch.write_text(text)
    _sync(scratch)
    scratch.replace(path)


def write_json(path: Path, content: Any) -> None:
    write_whole(path, json_text(content, indent=1) + "\n")


def json_text(content: Any, indent: int | None = None) -> str:
    """JSON that every reader takes: a number that is not finite is null."""
    return json.dumps(finite_or_null(content), indent=indent, allow_nan=False)


def finite_or_null(value: Any) -> Any:
    """The same lists and dicts with null for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite_or_null(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_null(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_json(text: str | bytes) -> Any:
    """A value of a file that anybody may have written or damaged.

    Raises:
        ValueError: broken, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path) -> Any:
    return parse_json(path.read_bytes())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
