"""The micro-batches of the step that a run has under way."""

from paceline.training.distributed import DistributedContext
from paceline.training.micro_batches import MicroBatch, make_micro_batches
from paceline.training.order import DataOrder
from paceline.training.prepare import Prepared


class MicroBatchQueue:
    """The micro-batches of the step under way, and which of them this process has still to compute.

    `all` are those of `step`, over all processes.
    """

    def __init__(self, prepared: Prepared, order: DataOrder, distributed: DistributedContext) -> None:
        self._prepared, self._order, self._distributed = prepared, order, distributed
        self.step = 0
        self.all: list[MicroBatch] = []
        self._ahead: tuple[int, list[MicroBatch]] = -1, []
        self._own: list[tuple[int, MicroBatch]] = []
        self._taken = 0

    def begin(self, step: int) -> None:
        """Cuts the effective batch of a step (from 0) and takes this process's share, in neighbours."""
        prepared, ahead = self._ahead
        self.step, self.all = step, ahead if prepared == step else self._cut(step)
        count = -(-len(self.all) // self._distributed.size)
        self._own = list(enumerate(self.all))[self._distributed.rank * count :][:count]
        if self._distributed.sharded:
            # all must run the same number of forwards: who has none left gives one without weight
            self._own += [(-1, self.all[0])] * (count - len(self._own))
        self._taken = 0

    def look_ahead(self, step: int) -> None:
        """Cuts the batch of a step that may come next; once, also where the step under way begins again."""
        if self._ahead[0] != step:
            self._ahead = step, self._cut(step)

    def _cut(self, step: int) -> list[MicroBatch]:
        examples = self._prepared.split.train[self._order(step)]
        recipe, dataset = self._prepared.recipe, self._prepared.dataset
        return list(make_micro_batches(dataset, examples, recipe.max_length, recipe.share_prefixes))

    def restart(self) -> None:
        """Puts all of the step's micro-batches back, in the same order."""
        self._taken = 0

    def peek(self) -> MicroBatch | None:
        """The next one; None when all are taken."""
        return self._own[self._taken][1] if self._taken < len(self._own) else None

    def take(self) -> tuple[int, MicroBatch]:
        """The next one with its number in the step; -1: it has no weight."""
        self._taken += 1
        return self._own[self._taken - 1]

    def first_row(self, number: int) -> int:
        """How many of the step's tokens stand before a micro-batch."""
        return sum(micro_batch.tokens for micro_batch in self.all[: max(number, 0)])

    @property
    def fraction(self) -> float:
        """The share of the step that is taken."""
        return self._taken / max(len(self._own), 1)
