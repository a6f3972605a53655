"""Facts about a token data set that a person wants before training on it."""

from collections import Counter
from itertools import groupby
from typing import Any

import numpy as np

from paceline.data.chat import Chat
from paceline.data.tokens import TokenDataset
from paceline.errors import DataError

LIMITS = (512, 1024, 2048)


def describe(dataset: TokenDataset, chat: Chat, example: int = 0) -> dict[str, Any]:
    """Rows, tasks, token lengths (percentiles, shares that fit), and one example as (text, supervised) runs of tokens."""
    if not 0 <= example < len(dataset):
        raise DataError(f"--example {example + 1}: there are {len(dataset)} examples")
    lengths = dataset.lengths
    ids, mask = dataset.example(example)
    parts = [
        (chat.tokenizer.decode([token for token, _ in run]), bool(supervised))
        for supervised, run in groupby(
            zip(ids.tolist(), mask.tolist(), strict=True), key=lambda pair: pair[1]
        )
    ]
    return {
        "rows": len(dataset),
        "format": dataset.format,
        "dropped": len(dataset.dropped),
        "tasks": dict(Counter(dataset.tasks).most_common()),
        "length": {
            **{f"p{p}": int(np.percentile(lengths, p)) for p in (50, 95, 99)},
            "max": int(lengths.max()),
        },
        "fits": {limit: float((lengths <= limit).mean()) for limit in LIMITS},
        "example": parts,
    }
