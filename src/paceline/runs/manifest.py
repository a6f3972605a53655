"""Checksums of what is written, and whether it still is that: of a folder's files, and of small JSON."""

from pathlib import Path

from paceline.errors import RunError
from paceline.runs.digests import content_digest, value_digest
from paceline.runs.files import JsonObject, read_json, write_json

FILE = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Records the digest of every file of a folder, in the folder."""
    files = {file.name: content_digest(file) for file in sorted(folder.iterdir()) if file.name != FILE}
    write_sealed(folder / FILE, {"files": files})


def find_damage(folder: Path) -> str:
    """What is not as `write_manifest` saw it, such as "x.json is missing"; nothing: an empty string."""
    if not folder.is_dir():
        return "it is missing"
    if not (folder / FILE).is_file():
        return f"{FILE} is missing"
    try:
        recorded = read_sealed(folder / FILE)["files"]
    except (RunError, KeyError):
        return f"{FILE} is damaged"
    return ", ".join(changed_files(folder, recorded))


def refuse_damaged(folder: Path) -> None:
    """Refuses a folder that has a manifest and is not as it says.

    Raises:
        RunError: with the file.
    """
    if (folder / FILE).is_file() and (damage := find_damage(folder)):
        raise RunError(f"{folder}: {damage}; run the command that trained it again, or take it from a copy")


def changed_files(folder: Path, recorded: dict[str, str]) -> list[str]:
    """Which files are missing or damaged, in words; `recorded` are their digests by name."""
    return [
        f"{name} is {'damaged' if (folder / name).is_file() else 'missing'}"
        for name, digest in recorded.items()
        if not (folder / name).is_file() or content_digest(folder / name) != digest
    ]


def write_sealed(path: Path, content: JsonObject) -> None:
    """Writes a JSON object with its own digest, in one step."""
    write_json(path, {**content, "digest": value_digest(content)})


def read_sealed(path: Path) -> JsonObject:
    """What `write_sealed` wrote; an object without a digest, of somebody's own hand, is taken as it is.

    Raises:
        RunError: it is cut, empty or changed.
    """
    try:
        content = read_json(path)
        sealed = content.pop("digest", None)
    except (ValueError, AttributeError, TypeError) as error:
        raise RunError(f"{path} is damaged; run the command that trained it again") from error
    if sealed is not None and sealed != value_digest(content):
        raise RunError(f"{path} is damaged; run the command that trained it again")
    return dict(content)
