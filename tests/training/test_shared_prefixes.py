"""What examples begin with alike is computed once: the same losses and gradients from fewer rows."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers import plain_model, random_adapter
from paceline.config.objective import KL
from paceline.config.study import Run, Study
from paceline.errors import TrainingError
from paceline.model.base import Base
from paceline.model.shared_prefixes import SharedRows, find_prefixes
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.micro_batches import MicroBatch, TokenSequence, pack_micro_batches
from paceline.training.objective import Objective
from paceline.training.prepare import Prepared
from paceline.training.step import StepItem, forward_backward
from paceline.training.study import train_study


def sequence(tokens: list[int], supervised: int) -> TokenSequence:
    """An example whose last so many positions are supervised."""
    labels = [-100] * (len(tokens) - supervised) + [(t * 7 + 3) % 200 for t in tokens[-supervised:]]
    return TokenSequence(0, torch.tensor(tokens), torch.tensor(labels), supervised)


SYSTEM, ASK = list(range(40, 75)), [3, 1, 4, 1, 5, 9]
# a prompt with its question, the same question, the same system prompt, nothing, all alike, half an answer
EXAMPLES = [
    sequence([*SYSTEM, *ASK, 10, 11, 12], 4),
    sequence([*SYSTEM, *ASK, 90, 91], 3),
    sequence([*SYSTEM, 80, 81, 82, 83], 2),
    sequence([7, 8, 9, 10, 11], 2),
    sequence([*SYSTEM, *ASK, 10, 11, 12], 4),
    sequence([*SYSTEM, *ASK, 90, 70], 1),
]
EXAMPLES = [replace(one, example=number) for number, one in enumerate(EXAMPLES)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=9), st.integers(1, 9)),
        min_size=1,
        max_size=8,
    )
)
def test_rows_make_up_every_example(drawn: list[tuple[list[int], int]]) -> None:
    examples = [sequence(tokens, min(supervised, len(tokens))) for tokens, supervised in drawn]
    prefixes = find_prefixes([(one.inputs, one.labels) for one in examples])
    pairs = list(zip(examples, prefixes, strict=True))
    own = [one.inputs[prefix.length :] for one, prefix in pairs]
    rows = torch.cat(own)
    shared = SharedRows.of(prefixes, [len(part) for part in own])
    spread = shared.spread(rows[None, None, :, None])[0, 0, :, 0]
    assert spread.tolist() == [token for one in examples for token in one.inputs.tolist()]
    contexts = set()  # rows are as few as there are beginnings without a loss, and each token after one
    for number, one in enumerate(examples):
        free = len(one.inputs) - one.supervised
        contexts |= {tuple(one.inputs[: i + 1].tolist()) for i in range(free)}
        contexts |= {(number, "own", i) for i in range(free, len(one.inputs))}
    assert len(rows) == len(contexts)


FIELDS = [{}, {"use_dora": True}, {"target_modules": ["q_proj", "embed_tokens"]}, {"kl": KL(coef=0.3)}]


@pytest.mark.parametrize("field", FIELDS)
def test_losses_and_gradients_are_those_of_whole_examples(
    prepared: Prepared, loaded_base: Base, field: dict[str, object]
) -> None:
    recipe = prepared.recipe.model_copy(update=field)
    adapter = random_adapter(loaded_base, recipe)
    micro_batch = MicroBatch(EXAMPLES, share_prefixes=True)
    batch = pack_micro_batches([(micro_batch, adapter, None, 0)], loaded_base.device)
    assert batch.input_ids.shape[1] == 44 + 3 + 4 + 5 + 4 + 3  # of 218
    gradients, values = {}, []
    for one in (micro_batch, MicroBatch(EXAMPLES)):
        adapter = random_adapter(loaded_base, recipe)
        objective = Objective(recipe, prepared.dataset, HiddenStateCache(loaded_base))
        loss = objective.begin(0, [one])
        forward_backward(loaded_base, [StepItem(micro_batch=one, adapter=adapter, loss=loss)])
        loss.take(loss.counted(loaded_base.device).tolist())
        gradients[one.share_prefixes] = adapter.gradients
        values.append((loss.value, loss.correct))
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    torch.testing.assert_close(gradients[True], gradients[False], atol=1e-6, rtol=1e-4)


def test_they_are_those_of_autograd_through_a_plain_model(prepared: Prepared, loaded_base: Base) -> None:
    """Whose weights are W + s B A, example by example."""
    recipe, micro_batch = prepared.recipe, MicroBatch(EXAMPLES, share_prefixes=True)
    adapter = random_adapter(loaded_base, recipe)
    loss = Objective(recipe, prepared.dataset).begin(0, [micro_batch])
    forward_backward(loaded_base, [StepItem(micro_batch=micro_batch, adapter=adapter, loss=loss)])
    loss.take(loss.counted(loaded_base.device).tolist())
    model = plain_model(recipe.base)
    leaves = {name: [m.clone().requires_grad_() for m in pair] for name, pair in adapter.matrices.items()}
    weights = {
        f"{name}.weight": model.get_submodule(name).weight + adapter.scales[name] * b @ a
        for name, (a, b) in leaves.items()
    }
    logits: list[Tensor] = [
        torch.func.functional_call(model, weights, (one.inputs[None],)).logits[0] for one in EXAMPLES
    ]
    labels = torch.cat([one.labels for one in EXAMPLES])
    expected = F.cross_entropy(torch.cat(logits), labels, ignore_index=-100)
    expected.backward()
    assert loss.value == pytest.approx(expected.item(), rel=1e-6)
    for name, pair in leaves.items():
        for ours, leaf in zip(adapter.gradient_of(name), pair, strict=True):
            torch.testing.assert_close(ours, leaf.grad, atol=1e-6, rtol=1e-4)


def test_neighbours_change_no_bit(prepared: Prepared, loaded_base: Base) -> None:
    recipe = prepared.recipe.model_copy(update={"lora_dropout": 0.1})
    found = []
    for before, behind in ((0, 0), (1, 0), (2, 1)):
        adapter, items = random_adapter(loaded_base, recipe), []
        for number in range(before + 1 + behind):
            mine = number == before
            one = MicroBatch(EXAMPLES if mine else EXAMPLES[number:4], share_prefixes=mine or number == 0)
            loss = Objective(recipe, prepared.dataset).begin(0, [one])
            own = adapter if mine else random_adapter(loaded_base, recipe)
            items.append(StepItem(micro_batch=one, adapter=own, loss=loss, dropout_key=(0, 0, 7 * mine, 2)))
        forward_backward(loaded_base, items)
        found.append(adapter.gradients)
    assert found[0].any()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_gpu_refuses_them(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr("paceline.training.study.default_device", lambda: torch.device("cuda"))
    recipe = prepared.recipe.model_copy(update={"share_prefixes": True})
    folder = tmp_path_factory.mktemp("gpu")
    with pytest.raises(TrainingError, match=r"a: share_prefixes works on a CPU only"):
        train_study(Study(name="s", runs=[Run(name="a", recipe=recipe)]), folder)
    assert list(folder.iterdir()) == []
