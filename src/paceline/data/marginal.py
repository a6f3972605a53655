"""What the frequencies of answers alone give: the loss of a model that never looks at a prompt."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paceline.data.tokens import TokenDataset

# Examples of each side that are counted.
MOST_TRAIN, MOST_HELD_OUT = 5000, 1000
# The share of held-out answers that occur in training from which on whole answers are labels.
LABELS = 0.95
Tokens = NDArray[np.int32]


def marginal_loss(
    dataset: TokenDataset, train: NDArray[np.int64], held_out: NDArray[np.int64], max_length: int
) -> float | None:
    """The held-out answers' cross-entropy under the training answers' frequencies, in nats a token.

    Whole answers are counted where nearly all held-out ones occur in training, as labels do, else single
    tokens; each with one more of what either side has (Laplace's rule). None: nothing is supervised.
    """
    taught = _answers(dataset, train[:MOST_TRAIN], max_length)
    asked = _answers(dataset, held_out[:MOST_HELD_OUT], max_length)
    tokens = sum(map(len, asked))
    if not taught or not tokens:
        return None
    labels, wanted = ([answer.tobytes() for answer in side] for side in (taught, asked))
    known = set(labels)
    if np.mean([label in known for label in wanted]) >= LABELS:
        return _nats(labels, wanted) / tokens
    return _nats(np.concatenate(taught).tolist(), np.concatenate(asked).tolist()) / tokens


def _answers(dataset: TokenDataset, examples: NDArray[np.int64], max_length: int) -> list[Tokens]:
    """The tokens that a run learns of each example; the first one of all is never predicted."""
    learned = (ids[1:max_length][mask[1:max_length] > 0] for ids, mask in dataset.examples(examples))
    return [answer for answer in learned if len(answer)]


def _nats(taught: Sequence[object], asked: Sequence[object]) -> float:
    """The summed -log p of what is asked, p from counts of what was taught."""
    counts = Counter(taught)
    total = len(taught) + len(counts.keys() | set(asked))
    return float(-sum(np.log((counts[one] + 1) / total) * times for one, times in Counter(asked).items()))
