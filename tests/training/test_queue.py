"""The micro-batches of a step: all of them once, over however many processes."""

from dataclasses import replace

import pytest

from paceline.training import micro_batches
from paceline.training.distributed import SINGLE_PROCESS, DistributedContext
from paceline.training.micro_batches import MicroBatch
from paceline.training.order import DataOrder
from paceline.training.prepare import Prepared
from paceline.training.queue import MicroBatchQueue


@pytest.fixture(autouse=True)
def _small_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that the eight examples of a step make several."""
    monkeypatch.setattr(micro_batches, "MICRO_BATCH_TOKENS", 200)


def queue(prepared: Prepared, distributed: DistributedContext = SINGLE_PROCESS) -> MicroBatchQueue:
    order = DataOrder(prepared.recipe, prepared.plan)
    return MicroBatchQueue(prepared, order, distributed)


def drained(queue: MicroBatchQueue) -> list[tuple[int, MicroBatch]]:
    taken = []
    while (following := queue.peek()) is not None:
        taken.append(queue.take())
        assert taken[-1][1] is following
    return taken


def examples(numbered: list[tuple[int, MicroBatch]]) -> list[int]:
    return [sequence.example for _, one in numbered for sequence in one.sequences]


def test_a_step_has_the_examples_of_its_effective_batch_in_order(prepared: Prepared) -> None:
    one = queue(prepared)
    for step in range(prepared.plan.steps_per_epoch):
        one.begin(step)
        taken = drained(one)
        wanted = prepared.split.train[DataOrder(prepared.recipe, prepared.plan)(step)]
        assert examples(taken) == wanted.tolist()
        assert [number for number, _ in taken] == list(range(len(one.all)))
        assert len(taken) > 1 or len(wanted) < 4


def test_what_was_put_back_comes_again_in_the_same_order(prepared: Prepared) -> None:
    one = queue(prepared)
    one.begin(0)
    first = one.take()
    assert 0 < one.fraction < 1
    one.restart()
    assert one.fraction == 0
    assert drained(one)[0] == first
    assert one.fraction == 1
    assert one.peek() is None


@pytest.mark.parametrize("size", [2, 3, 9])
@pytest.mark.parametrize("sharded", [False, True])
def test_processes_together_have_each_micro_batch_once(size: int, sharded: bool, prepared: Prepared) -> None:
    for step in range(3):
        alone = queue(prepared)
        alone.begin(step)
        shares = []
        for rank in range(size):
            one = queue(prepared, DistributedContext(rank, size, sharded))
            one.begin(step)
            assert [micro_batch.tokens for micro_batch in one.all] == [m.tokens for m in alone.all]
            shares.append(drained(one))
        weighed = [entry for share in shares for entry in share if entry[0] >= 0]
        assert [number for number, _ in weighed] == list(range(len(alone.all)))
        assert examples(weighed) == examples(list(enumerate(alone.all)))
        if sharded:
            assert len({len(share) for share in shares}) == 1, "all run the same number of forwards"
            fillers = [entry for share in shares for entry in share if entry[0] < 0]
            assert {number for number, _ in fillers} <= {-1}
            assert len(fillers) == sum(map(len, shares)) - len(alone.all)


def test_a_step_that_has_no_supervised_token_has_no_micro_batch(prepared: Prepared) -> None:
    short = replace(prepared, recipe=prepared.recipe.model_copy(update={"max_length": 8}))
    one = queue(short)
    one.begin(0)
    assert one.peek() is None
    assert one.fraction == 0
