"""Digests of a base's files and of an adapter in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from paceline.config.base_names import base_path
from paceline.model.adapter import Adapter
from paceline.model.weight_files import base_folder, weight_files
from paceline.runs.digests import DIGITS, file_digest, value_digest


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
    folder = base_folder(base_path(name))
    return BaseDigest(
        weights=value_digest([file_digest(file) for file in weight_files(folder)]),
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
