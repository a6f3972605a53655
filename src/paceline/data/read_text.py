"""Rows of JSON lines, JSON and CSV files, each as JSON text with the line on which it begins."""

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from paceline.data.paths import ending
from paceline.data.text import read_json, write_json
from paceline.errors import DataError
from paceline.runs.files import parse_json

_BOM = b"\xef\xbb\xbf"
_SPACE = " \t\r\n"


class TextRow(NamedTuple):
    """A row of a file: the line it begins on, from 1, and its JSON text and fields, or else its fault."""

    line: int
    text: str = ""
    fields: dict[str, Any] | None = None
    kind: str = ""
    reason: str = ""


def read_text_rows(path: Path) -> Iterator[TextRow]:
    """The rows of a file in its order; empty lines are none.

    Raises:
        DataError: the file is empty, cut off, of another encoding, or broken beyond a single row.
    """
    try:
        with _open(path) as file:
            start = file.peek(4096)
            if not start:
                raise DataError(f"data {path}: the file is empty")
            if start.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"data {path}: the file is UTF-16; save it as UTF-8")
            if start.startswith(_BOM):
                file.read(len(_BOM))
            yield from _rows(path, file, start.removeprefix(_BOM).lstrip())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"data {path}: the compressed file is cut off or damaged ({error})") from error
    except OSError as error:
        raise DataError(f"data {path}: cannot be read ({error.strerror or error})") from error


def _open(path: Path) -> io.BufferedReader:
    if path.name.lower().endswith(".gz"):
        return io.BufferedReader(gzip.open(path))
    if path.name.lower().endswith(".zst"):
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _rows(path: Path, file: io.BufferedReader, start: bytes) -> Iterator[TextRow]:
    kind = ending(path).removesuffix(".gz").removesuffix(".zst")
    if kind in (".csv", ".tsv"):
        return _cells(path, file, "," if kind == ".csv" else "\t")
    if start.startswith(b"[") or (kind == ".json" and not _is_object(start.partition(b"\n")[0])):
        return _values(path, file)
    return _lines(file)


def _is_object(line: bytes) -> bool:
    """Whether a line that may be cut off begins an object of its own, as in JSON lines."""
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return len(line) >= 4000


def _lines(file: io.BufferedReader) -> Iterator[TextRow]:
    """JSON lines; they end at a line feed, whatever else a Unicode text may be cut at."""
    for number, raw in enumerate(file, 1):
        if not raw.strip():
            continue
        try:
            text = raw.decode().strip(_SPACE)
        except UnicodeDecodeError as error:
            yield TextRow(number, kind="not UTF-8", reason=f"not UTF-8 (byte 0x{raw[error.start]:02x})")
            continue
        yield _checked(number, text)


def _checked(line: int, text: str) -> TextRow:
    try:
        value = read_json(text)
    except json.JSONDecodeError as error:
        return TextRow(line, kind="broken JSON", reason=f"broken JSON ({error.msg} at column {error.colno})")
    except ValueError as error:
        return TextRow(line, kind="bad value", reason=str(error))
    except RecursionError:
        return TextRow(line, kind="bad value", reason="nested too deeply")
    if not isinstance(value, dict):
        return TextRow(line, kind="no object", reason="expected an object with the row's fields")
    return TextRow(line, text, value)


def _values(path: Path, file: io.BufferedReader) -> Iterator[TextRow]:
    """A list of objects, or objects one after the other, over as many lines as they like; read at once."""
    try:
        text = file.read().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"data {path}: not UTF-8 (byte {error.start + 1}); save it as UTF-8") from error
    decoder = json.JSONDecoder(strict=False)
    line, counted, place = 1, 0, _skip(text, 0)
    listed = text[place] == "["
    place = _skip(text, place + listed)
    while place < len(text) and not (listed and text[place] == "]"):
        line, counted = line + text.count("\n", counted, place), place
        try:
            end = decoder.raw_decode(text, place)[1]
            after = _skip(text, end)
            if listed and text[after : after + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, after)
            if text[after : after + 1] == "," and text[_skip(text, after + 1) :][:1] == "]":
                raise json.JSONDecodeError("Illegal trailing comma", text, after)
        except json.JSONDecodeError as error:
            raise DataError(f"data {path} line {error.lineno}: broken JSON ({error.msg})") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"data {path} line {line}: {error}") from error
        yield _checked(line, text[place:end])
        place = _skip(text, after + 1) if listed and text[after] == "," else after
    if listed and text[_skip(text, place + 1) :]:
        raise DataError(f"data {path}: something follows the list of rows")
    if listed and place >= len(text):
        raise DataError(f"data {path}: broken JSON (the list does not end)")


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _cells(path: Path, file: io.BufferedReader, delimiter: str) -> Iterator[TextRow]:
    """CSV: every cell is text, an empty one too."""
    csv.field_size_limit(sys.maxsize)
    # a byte that is no UTF-8 becomes half of a surrogate pair, which stays within its row
    reader = csv.reader(
        io.TextIOWrapper(file, "utf-8", "surrogateescape", newline=""), delimiter=delimiter, strict=True
    )
    names: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            here, line = line, reader.line_num + 1
            if not cells:
                continue
            if names is None:
                names = _header(path, cells)
                continue
            yield _row_of_cells(here, names, cells)
    except csv.Error as error:
        raise DataError(f"data {path} line {line}: broken CSV ({error})") from error


def _header(path: Path, names: list[str]) -> list[str]:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"data {path}: two columns are called {twice!r}")
    return names


def _row_of_cells(line: int, names: list[str], cells: list[str]) -> TextRow:
    if len(cells) != len(names):
        reason = f"{len(cells)} cells, the first line names {len(names)} columns"
        return TextRow(line, kind="wrong number of cells", reason=reason)
    fields = dict(zip(names, cells, strict=True))
    text = write_json(fields)
    try:
        text.encode()
    except UnicodeEncodeError:
        return TextRow(line, kind="not UTF-8", reason="not UTF-8")
    return TextRow(line, text, fields)
