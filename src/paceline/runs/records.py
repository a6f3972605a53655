"""Results on disk: a file of one record as JSON, or of many as lines. One writer and one reader for each."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from paceline.errors import RunError
from paceline.runs.seals import read_with_seal, write_with_seal


class Record(BaseModel):
    """A line of a file, or a whole one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON; numbers that are not finite are null."""
        return self.model_dump_json(indent=indent)


AnyRecord = TypeVar("AnyRecord", bound=Record)


def write_record(path: Path, record: Record) -> None:
    """Writes a file of one record in one step, sealed."""
    write_with_seal(path, record.to_json(indent=1) + "\n")


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Reads what `write_record` wrote.

    Raises:
        RunError: damaged, or not a result that this version reads, with the field.
    """
    return _parse(read_with_seal(path), kind, str(path))


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Writes one record a line, in one step, sealed."""
    write_with_seal(path, "".join(f"{record.to_json()}\n" for record in records))


def read_records(path: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    """The whole lines of a file that grows line by line; a torn last one is left out.

    Raises:
        RunError: damaged, or a line that this version does not read, with its number.
    """
    if not path.is_file():
        return []
    lines = read_with_seal(path).split(b"\n")[:-1]
    return [
        _parse(line, kind, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()
    ]


def _parse(text: bytes, kind: type[AnyRecord], where: str) -> AnyRecord:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        raise RunError(
            f"{where}: not a result that this version reads ({field + ': ' if field else ''}{fault['msg']}); "
            "delete the *-settings.json beside it and run the study again"
        ) from error
