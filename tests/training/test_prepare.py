"""What is known of a run before anything is spent: its split, its facts, its length."""

import numpy as np
import pytest

from helpers import MakeRecipe
from paceline.config.recipe import Recipe
from paceline.errors import DataError
from paceline.model.quantization import BaseFormat
from paceline.training.order import make_step_plan
from paceline.training.prepare import Prepared, Preparer, group_by_base


@pytest.fixture(scope="module")
def preparer() -> Preparer:
    return Preparer()


def test_facts_are_counts_of_the_examples(preparer: Preparer, recipe: MakeRecipe) -> None:
    made = recipe(max_length=100)
    prepared = preparer.prepare(made)
    facts, dataset = prepared.facts, prepared.dataset
    lengths = [len(dataset.example(i)[0]) for i in range(len(dataset))]
    starts = [int(np.argmax(dataset.example(i)[1])) for i in range(len(dataset))]
    assert facts.examples == len(lengths) == 240
    assert facts.truncated == sum(length > 100 for length in lengths) > 0
    assert facts.answers_lost == sum(start >= 100 for start in starts) > 0
    assert (facts.train, facts.eval) == (len(prepared.split.train), len(prepared.split.eval))
    assert facts.train + facts.eval == 240 - facts.answers_lost
    assert facts.length is not None
    assert facts.length.max == max(lengths)
    assert facts.length.p50 == int(np.percentile(lengths, 50))
    assert list(facts.train_mixture.values()) == [facts.train]
    assert facts.removed == {}
    assert prepared.plan == make_step_plan(made, facts.train)


def test_no_example_is_on_both_sides(prepared: Prepared) -> None:
    train, held_out = set(prepared.split.train.tolist()), set(prepared.split.eval.tolist())
    assert not train & held_out
    usable = {i for i in range(60) if prepared.dataset.example(i)[1][:128].any()}
    assert train | held_out == usable


def test_the_summary_tells_what_was_cut_and_removed(
    preparer: Preparer, recipe: MakeRecipe, sums: str
) -> None:
    fields = {"source": sums, "clean": {"max_length": 150, "duplicates": "none", "outliers": None}}
    prepared = preparer.prepare(recipe(max_length=100, data=fields))
    facts, summary = prepared.facts, prepared.summary()
    assert sum(facts.removed.values()) > 0
    assert summary.startswith(f"data: {facts.train} examples train; {facts.eval} are held out; ")
    assert f"; {facts.truncated} cut to 100 tokens; {facts.answers_lost} lose their whole answer" in summary
    for rule, count in facts.removed.items():
        assert (f"{count} removed: {rule}" in summary) == bool(count)
    left = [len(prepared.dataset.example(i)[0]) for i in prepared.split.train]
    assert max(left) <= 150


def test_recipes_on_the_same_data_share_the_tokenized_table(
    preparer: Preparer, recipe: MakeRecipe, sums: str
) -> None:
    first = preparer.prepare(recipe())
    changed = {"source": sums, "eval_ratio": 0.2, "clean": {"duplicates": "exact"}}
    assert preparer.prepare(recipe(data=changed, lr=0.5)).dataset is first.dataset
    everything = preparer.prepare(recipe(loss_on="all")).dataset
    assert everything is not first.dataset
    assert everything.table is first.dataset.table
    assert preparer.prepare(recipe(data={"source": sums, "n": 50})).dataset is not first.dataset


def test_only_the_chosen_tasks_train_and_all_are_held_out(preparer: Preparer, recipe: MakeRecipe) -> None:
    everything = preparer.prepare(recipe(data={"source": "embedded:rust", "n": 60}, max_length=512))
    tasks = everything.dataset.tasks(np.arange(len(everything.dataset)))
    chosen = sorted({tasks[i] for i in everything.split.train})[:2]
    fields = {"train_tasks": ["phase"], "phases": {"phase": chosen}}
    some = preparer.prepare(recipe(data={"source": "embedded:rust", "n": 60}, max_length=512, **fields))
    assert some.split.train.tolist() == [i for i in everything.split.train if tasks[i] in chosen]
    assert some.split.eval.tolist() == everything.split.eval.tolist()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_length": 8}, r"all 240 examples are longer than max_length 8 \(the shortest has \d+ tokens\)"),
        ({"data": {"clean": {"min_answer": 5000}}}, "no example is left to"),
        ({"train_tasks": ["cooking"]}, "no task or phase 'cooking'"),
        ({"data": {"n": 2, "eval_ratio": 0.1}}, "cannot be split at eval_ratio"),
    ],
)
def test_data_that_cannot_train_is_refused(
    fields: dict[str, object], said: str, preparer: Preparer, recipe: MakeRecipe, sums: str
) -> None:
    if isinstance(fields.get("data"), dict):
        fields = {**fields, "data": {"source": sums, **fields["data"]}}
    with pytest.raises(DataError, match=said):
        preparer.prepare(recipe(**fields))


def test_what_shares_a_base_and_its_storage_is_a_group(recipe: MakeRecipe) -> None:
    recipes = [
        recipe(),
        recipe(quantize="nf4"),
        recipe(lr=1.0, compute_dtype="bfloat16"),
        recipe(base="other"),
        recipe(quantize="nf4", compute_dtype="bfloat16"),
        recipe(quantize="nf4", lora_r=2),
    ]

    def itself(made: Recipe) -> Recipe:
        return made

    groups = group_by_base(recipes, itself)
    assert [[recipes.index(one) for one in group] for group in groups.values()] == [[0, 2], [1, 5], [3], [4]]
    assert [key[1] for key in groups] == [BaseFormat.of(group[0]) for group in groups.values()]


def test_a_packed_run_counts_packed_examples(preparer: Preparer, recipe: MakeRecipe, texts: str) -> None:
    fields = {"max_length": 64, "batch_size": 2, "grad_accum": 3, "max_steps": None, "epochs": 2}
    plain = preparer.prepare(recipe(data={"source": texts}, **fields))
    packed = preparer.prepare(recipe(data={"source": texts, "packing": True}, **fields))
    tokens = plain.dataset.lengths[plain.split.train].sum()
    blocks = -(-tokens // 64)
    assert plain.facts.truncated > 0
    assert (packed.facts.train, packed.facts.truncated, packed.facts.answers_lost) == (blocks, 0, 0)
    assert packed.plan.total_steps == 2 * -(-blocks // 6)
    assert (packed.facts.eval, packed.facts.packed_texts) == (plain.facts.eval, plain.facts.train)
    assert packed.texts[0] is plain.dataset
    assert f"data: {blocks} packed examples of 64 tokens train, made of {plain.facts.train} texts; " in (
        packed.summary()
    )
    again = preparer.prepare(recipe(data={"source": texts, "packing": True}, **{**fields, "lr": 0.5}))
    assert again.dataset is packed.dataset
    assert preparer.prepare(recipe(data={"source": texts, "packing": True})).dataset is not packed.dataset


def test_only_the_chosen_tasks_are_packed(preparer: Preparer, recipe: MakeRecipe, texts: str) -> None:
    everything, some = (
        preparer.prepare(recipe(data={"source": texts, "packing": True}, max_length=64, **fields))
        for fields in ({}, {"train_tasks": ["tale-1"]})
    )
    dataset, parts = some.texts
    assert set(dataset.tasks(parts.train)) == {"tale-1"}
    joined = np.concatenate([dataset.example(i)[0] for i in parts.train])
    assert np.concatenate([some.dataset.example(i)[0] for i in some.split.train]).tolist() == joined.tolist()
    assert some.facts.eval == everything.facts.eval
