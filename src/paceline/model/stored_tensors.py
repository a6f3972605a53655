"""Safetensors files that anybody may have written: opened in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from paceline.errors import ModelError

# A header takes some fifteen times its bytes as it is read, before any tensor; one of 100,000 has 12 MB.
MOST_HEADER_BYTES = 16 * 2**20


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """An open safetensors file, of which nothing but the header is read.

    Raises:
        ModelError: it is none, is damaged (also when that shows later in the block), or has a header that
            takes much memory.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise ModelError(
                f"{path}: cannot be read as a safetensors file (a header of {length:,} bytes; "
                f"at most {MOST_HEADER_BYTES:,} are read)"
            )
        with safe_open(path, "pt") as stored:
            yield stored
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be read as a safetensors file ({error})") from error
