"""The digest of tokenized examples: their content, their order, and where they come from."""

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from paceline.data.tokens import TokenDataset
from paceline.runs.digests import DIGITS

_BATCH = 1000


def rows_digest(dataset: TokenDataset, examples: NDArray[np.int64]) -> str:
    """Hex over ids, masks, row numbers, tasks, sources and weights of examples (indices, (n,)), in order."""
    content, lengths = hashlib.sha256(), []
    for batch in dataset.table.select(examples).with_format("arrow").iter(_BATCH):
        ids = batch.column("input_ids")
        lengths.append(pc.list_value_length(ids).to_numpy())
        content.update(_bytes(pc.list_flatten(ids), np.int32))
        content.update(_bytes(pc.list_flatten(batch.column("mask")), np.uint8))
    content.update(np.concatenate(lengths).astype(np.int64).data)
    content.update(dataset.column("row")[examples].astype(np.int64, copy=False).data)
    if dataset.weights is not None:
        content.update(dataset.weights[examples].data)
    content.update(b"[[")
    for start in range(0, len(examples), _BATCH):  # pairs of millions at once would take gigabytes
        batch = examples[start : start + _BATCH]
        sources = [dataset.sources[part] for part in dataset.parts[batch]]
        named = list(zip(sources, dataset.tasks(batch), strict=True))
        content.update((", " * (start > 0) + json.dumps(named)[1:-1]).encode())
    content.update(f"], {json.dumps(dataset.loss_on)}]".encode())
    return content.hexdigest()[:DIGITS]


def _bytes(column: Any, kind: type[np.generic]) -> bytes:
    return bytes(np.ascontiguousarray(column.to_numpy(), dtype=kind).tobytes())
