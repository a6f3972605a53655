"""Files and folders that are there whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def write_whole(path: Path, text: str) -> None:
    """Writes a text file in one step."""
    scratch = path.with_name(f".{path.name}.partial")
    scratch.write_text(text)
    _sync(scratch)
    scratch.replace(path)


def write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
