"""Seals of results: digests of files as they were written, by which damage is noticed later."""

import hashlib
from pathlib import Path

from paceline.errors import RunError
from paceline.runs.digests import DIGITS
from paceline.runs.files import JsonObject, write_whole
from paceline.runs.manifest import read_sealed, write_sealed

FILE = "seals.json"


def write_with_seal(path: Path, text: str) -> None:
    """Writes a result in one step, with its digest in the folder's `seals.json`.

    The digest is there before the file is, beside that of the file it replaces: whatever a kill leaves is
    known.
    """
    _seal(path, _digest(text.encode()))
    write_whole(path, text)


def seal(path: Path) -> None:
    """Seals a file that grew line by line, and now is whole."""
    _seal(path, _digest(path.read_bytes()))


def unseal(path: Path) -> None:
    """Takes a file's seal away, before it grows or goes."""
    seals = _read(path.parent)
    if seals.pop(path.name, None) is not None:
        write_sealed(path.parent / FILE, seals)


def read_with_seal(path: Path) -> bytes:
    """A file's content; one without a seal, of somebody's own hand, is taken as it is.

    Raises:
        RunError: it is not what was written.
    """
    content = path.read_bytes()
    if (known := _read(path.parent).get(path.name)) and _digest(content) not in known:
        raise RunError(f"{path} is not as it was written; run the study again, which evaluates anew")
    return content


def damaged_results(folder: Path) -> list[str]:
    """Names of a folder's sealed files that are gone or not what was written."""
    try:
        seals = _read(folder)
    except RunError:
        return [FILE]
    files = {name: folder / name for name in seals}
    return [
        name
        for name, file in files.items()
        if not file.is_file() or _digest(file.read_bytes()) not in seals[name]
    ]


def _seal(path: Path, digest: str) -> None:
    try:
        seals = _read(path.parent)
    except RunError:  # of a result that is written now nothing old matters
        seals = {}
    write_sealed(path.parent / FILE, {**seals, path.name: [*seals.get(path.name, [])[-1:], digest]})


def _read(folder: Path) -> JsonObject:
    return read_sealed(folder / FILE) if (folder / FILE).is_file() else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]
