"""Digests: the same content gives the same hex, whatever its file is called and whenever it was written."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

# Files are read in pieces of so many bytes, several at once.
PIECE = 32 * 2**20
# Hexadecimal digits of a digest: 128 bits.
DIGITS = 32


def file_digest(path: Path) -> str:
    """The digest of a file's content; within a process a file is read once, and again after every change.

    A change is seen by the time that the system itself notes: no program can set that one back, as it can the
    time of modification.
    """
    seen = path.stat()
    return _file_digest(path.resolve(), seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)


@cache
def _file_digest(path: Path, *_when: int) -> str:
    return content_digest(path)


def content_digest(path: Path) -> str:
    """The digest of a file's content, read now: a damaged disk changes no time."""
    handle = os.open(path, os.O_RDONLY)
    try:
        starts = range(0, os.fstat(handle).st_size, PIECE)
        digest_of = lambda start: hashlib.sha256(os.pread(handle, PIECE, start)).digest()  # noqa: E731
        if len(starts) < 2:
            pieces = list(map(digest_of, starts))
        else:
            with ThreadPoolExecutor() as pool:
                pieces = list(pool.map(digest_of, starts))
        return hashlib.sha256(b"".join(pieces)).hexdigest()[:DIGITS]
    finally:
        os.close(handle)


def path_digest(path: Path) -> str:
    """The digest of a file, or of all files in a folder with their names."""
    if not path.is_dir():
        return file_digest(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return value_digest([(str(file.relative_to(path)), file_digest(file)) for file in files])


def value_digest(value: Any) -> str:
    """The digest of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
