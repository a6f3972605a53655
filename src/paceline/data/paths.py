"""Which files a source names, and which of them belong to its split."""

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

from paceline.errors import DataError

TEXT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
PACKED = ("", ".gz", ".zst")
ENDINGS = (".parquet", *(kind + packed for kind in TEXT for packed in PACKED))
# The words by which folders and files name a split.
_SPLITS = {
    "train": {"train", "training"},
    "test": {"test", "testing", "eval", "evaluation"},
    "validation": {"validation", "valid", "val", "dev"},
}
# What such a word may be followed by: trainset, testData.
_AFTER = ("", "set", "data", "split")
# What stands beside the rows in a data set's folder, and is none.
_ABOUT = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"}


def ending(path: Path | str) -> str:
    """The ending that says how a file is read, such as .jsonl.gz; the last suffix if it is none of ours."""
    name = Path(path).name.lower()
    return max((known for known in ENDINGS if name.endswith(known)), key=len, default=Path(name).suffix)


def is_pattern(source: str) -> bool:
    """Whether a source can be a pattern of several files."""
    return any(sign in source for sign in "*?[")


def find_files(source: str, path: Path, split: str) -> list[Path]:
    """The files of a split: of a file, a folder or, where neither is there, a pattern; sorted.

    A file that is named by itself is read whatever it is called.

    Raises:
        DataError: none there, none of this split, files of several types, or whose split cannot be told.
    """
    if path.is_file():
        files = [path]
    elif path.is_dir():
        found = [p for p in _below(path) if ending(p) in ENDINGS and p.is_file()]
        files = _of_split(source, path, _visible(found, path), split)
    else:
        root = _fixed_part(path)
        pattern = Path(glob.escape(str(root))) / path.relative_to(root)
        found = [p for name in glob.glob(str(pattern), recursive=True) if (p := Path(name)).is_file()]
        files = _of_split(source, root, _visible(found, root), split)
    kinds = {ending(file) for file in files}
    if len(kinds) > 1 or not kinds <= set(ENDINGS):
        there = ", ".join(kind or "none" for kind in sorted(kinds))
        raise DataError(f"data {source!r}: files of type {there}; expected one of {', '.join(ENDINGS)}")
    return files


def _below(folder: Path) -> Iterator[Path]:
    """All files in a folder and those below it, in linked ones too, each folder once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders.sort(key=lambda name: (os.path.islink(os.path.join(place, name)), name))
        yield from (Path(place) / name for name in names)


def _visible(files: list[Path], root: Path) -> list[Path]:
    return sorted(
        file
        for file in files
        if file.name not in _ABOUT and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )


def _fixed_part(path: Path) -> Path:
    """The folder above the first part that is a pattern; a part that is there is none, whatever its signs."""
    fixed = Path(path.anchor)
    for part in path.relative_to(fixed).parts[:-1]:
        if not (fixed / part).is_dir():
            break
        fixed /= part
    return fixed


def _of_split(source: str, root: Path, files: list[Path], split: str) -> list[Path]:
    if not files:
        raise DataError(f"data {source!r}: no {', '.join(ENDINGS)} file there")
    wanted = _split_of_word(split) or split
    marks = {file: _marks(file.relative_to(root), wanted) for file in files}
    if odd := next((file for file, found in marks.items() if len(found) > 1), None):
        raise DataError(
            f"data {source!r}: {odd} is marked as {' and '.join(sorted(marks[odd]))}; "
            "name one file, or rename it"
        )
    chosen = [file for file, found in marks.items() if wanted in found]
    unmarked = [file for file, found in marks.items() if not found]
    if chosen and unmarked:
        raise DataError(
            f"data {source!r}: {unmarked[0]} stands beside {chosen[0]} and no name says whose split it is; "
            "name the files by a pattern, or move it"
        )
    if not chosen and wanted == "train":
        chosen = unmarked
    if not chosen:
        there = sorted({word for found in marks.values() for word in found}) or ["no split by name"]
        raise DataError(f"data {source!r}: no file of split {split!r}; there are files of {', '.join(there)}")
    return chosen


def _split_of_word(word: str) -> str | None:
    forms = {word.lower().removesuffix(after) for after in _AFTER}
    return next((name for name, words in _SPLITS.items() if words & forms), None)


def _marks(relative: Path, wanted: str) -> set[str]:
    """The splits that the words of a path name.

    The words end at anything but a letter, and where a small letter is followed by a capital.
    """
    *folders, name = relative.parts
    name = name[: len(name) - len(ending(name))]
    words = [word for part in (*folders, name) for word in re.split(r"[\W\d_]+|(?<=[a-z])(?=[A-Z])", part)]
    found = {split for word in words if (split := _split_of_word(word))}
    if wanted not in _SPLITS and any(
        wanted in (part, *re.split(r"[-._]", part)) for part in (*folders, name)
    ):
        found.add(wanted)
    return found
