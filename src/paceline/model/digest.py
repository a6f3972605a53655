"""Digests of a base's files and of an adapter in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from transformers.utils.hub import cached_file

from paceline.errors import ModelError
from paceline.model.adapter import Adapter
from paceline.model.base import base_path
from paceline.runs.digests import DIGITS, file_digest, value_digest
from paceline.runs.files import read_json

# What transformers looks for, in its order: one file, or the index of several.
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True)
class BaseDigest:
    """Hex over the content of a base's weight files, and of its config.json."""

    weights: str
    config: str


def base_digest(name: str) -> BaseDigest:
    """The digests of a base that has been loaded; quantized ones are told by the files that they are made of.

    Raises:
        ModelError: a base without files on this machine.
    """
    folder = _folder(name)
    return BaseDigest(
        weights=value_digest([file_digest(file) for file in _weight_files(folder)]),
        config=file_digest(folder / "config.json"),
    )


def adapter_digest(adapter: Adapter | None) -> str:
    """Hex over an adapter's weights, its modules and their scales; that of no adapter is empty."""
    if adapter is None:
        return ""
    content = hashlib.sha256(adapter.parameters.detach().cpu().numpy().tobytes())
    content.update(json.dumps([adapter.names, adapter.rank, adapter.scales]).encode())
    for index, rows in adapter.rows.items():
        content.update(json.dumps([index, None if rows.ids is None else rows.ids.tolist()]).encode())
    return content.hexdigest()[:DIGITS]


def _folder(name: str) -> Path:
    path = Path(base_path(name))
    if path.is_dir():
        return path
    try:
        return Path(str(cached_file(name, "config.json", local_files_only=True))).parent
    except OSError as error:
        raise ModelError(f"base {name!r}: its files are not on this machine") from error


def _weight_files(folder: Path) -> list[Path]:
    for name in _WEIGHTS:
        file = folder / name
        if file.is_file() and file.suffix != ".json":
            return [file]
        if file.is_file():
            try:
                shards = sorted(set(read_json(file)["weight_map"].values()))
                return [file, *(folder / shard for shard in shards)]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(f"{file}: no index of weights ({error}); fetch the base again") from error
    raise ModelError(f"{folder}: no weights there (no {_WEIGHTS[0]})")
