"""Held-out losses, against transformers' own loss example by example."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers import MakeRecipe, plain_model, random_adapter
from paceline.comparison.losses import matching_examples
from paceline.model.base import Base
from paceline.runs.losses import ExampleLosses
from paceline.training.heldout import held_out_losses
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.prepare import Prepared, Preparer


def labelled(prepared: Prepared, example: int) -> tuple[Tensor, Tensor]:
    """Ids and transformers' labels of an example, cut."""
    ids, mask = (torch.from_numpy(half[:128].astype(np.int64)) for half in prepared.dataset.example(example))
    return ids[None], torch.where(mask == 1, ids, -100)[None]


@pytest.mark.parametrize("trained", [False, True])
def test_each_examples_loss_is_transformers(trained: bool, prepared: Prepared, loaded_base: Base) -> None:
    adapter = random_adapter(loaded_base, prepared.recipe) if trained else None
    examples = prepared.split.eval
    losses = held_out_losses(loaded_base, adapter, prepared.dataset, examples, 128)
    model = plain_model(prepared.recipe.base, adapter)
    assert len(losses.loss) == len(examples)
    for i, example in enumerate(examples):
        ids, labels = labelled(prepared, example)
        out = model(ids, labels=labels)
        counted = labels[0, 1:] >= 0
        assert losses.tokens[i] == counted.sum()
        assert losses.loss[i] / losses.tokens[i] == pytest.approx(out.loss.item(), rel=1e-5)
        guessed = out.logits[0, :-1].argmax(-1)
        assert losses.correct[i] == (guessed == labels[0, 1:])[counted].sum()
    assert np.isnan(losses.kl).all()


def test_the_divergence_from_the_base_is_that_of_two_whole_models(
    prepared: Prepared, loaded_base: Base
) -> None:
    adapter, examples = random_adapter(loaded_base, prepared.recipe), prepared.split.eval
    reference = HiddenStateCache(loaded_base)
    losses = held_out_losses(loaded_base, adapter, prepared.dataset, examples, 128, reference)
    models = [plain_model(prepared.recipe.base, one) for one in (adapter, None)]
    for i, example in enumerate(examples):
        ids, labels = labelled(prepared, example)
        ours, base = (F.log_softmax(model(ids).logits[0, :-1], -1) for model in models)
        divergence = F.kl_div(base, ours, reduction="none", log_target=True).sum(-1)
        assert losses.kl[i] == pytest.approx(divergence[labels[0, 1:] >= 0].sum().item(), rel=1e-4)
        assert losses.kl[i] > 0


def test_rows_say_which_example_they_are(prepared: Prepared, loaded_base: Base) -> None:
    examples = prepared.split.eval[::-1]
    losses = held_out_losses(loaded_base, None, prepared.dataset, examples, 128)
    assert losses.row.tolist() == prepared.dataset.column("row")[examples].tolist()
    assert losses.task == prepared.dataset.tasks(examples)
    assert set(losses.source) == {f"{prepared.recipe.data.source}:train"}


def test_an_examples_bits_do_not_depend_on_what_is_evaluated_beside_it_in_another_forward(
    prepared: Prepared, loaded_base: Base
) -> None:
    def measured(examples: np.ndarray[tuple[int], np.dtype[np.int64]]) -> ExampleLosses:
        return held_out_losses(loaded_base, None, prepared.dataset, examples, 128)

    everything = np.concatenate([prepared.split.eval, prepared.split.train])
    assert measured(everything).loss[: len(prepared.split.eval)].tolist() == pytest.approx(
        measured(prepared.split.eval).loss.tolist(), rel=1e-6
    )


def test_rows_read_by_other_columns_are_other_examples(
    recipe: MakeRecipe, loaded_base: Base, tmp_path: Path
) -> None:
    """Same rows, and as many supervised tokens: what is learned of them is not the same."""
    rows = [{"ask": f"Say {i}", "yes": f"{i % 10}", "no": f"{(i + i % 2) % 10}"} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = []
    for column in ("yes", "no"):
        columns = {"prompt": "ask", "completion": column}
        data = {"source": str(tmp_path / "rows.jsonl"), "columns": columns, "eval_ratio": 0.5}
        prepared = Preparer().prepare(recipe(data=data))
        losses = held_out_losses(loaded_base, None, prepared.dataset, prepared.split.eval, 128)
        said = prepared.dataset.examples(prepared.split.eval)
        told = {int(row): tuple(ids[mask == 1]) for row, (ids, mask) in zip(losses.row, said, strict=True)}
        found.append((losses, told))
    (yes, told), (no, denied) = found
    mine, theirs = matching_examples(yes, no)
    same = [row for row in told if told[row] == denied.get(row)]
    assert sorted(yes.row[mine]) == sorted(no.row[theirs]) == sorted(same)
    assert 0 < len(same) < len(told)


def test_an_example_whose_answer_is_cut_off_is_left_out(prepared: Prepared, loaded_base: Base) -> None:
    dataset = prepared.dataset
    cut = int(np.median(dataset.first))
    losses = held_out_losses(loaded_base, None, dataset, np.arange(len(dataset)), cut)
    kept = [i for i in range(len(dataset)) if dataset.example(i)[1][1:cut].any()]
    assert 0 < len(kept) < len(dataset)
    assert losses.row.tolist() == dataset.column("row")[kept].tolist()


def test_windows_of_one_text_are_one_example_and_every_token_counts(
    loaded_base: Base, recipe: MakeRecipe, texts: str
) -> None:
    data = {"source": texts, "packing": True, "eval_ratio": 0.2}
    whole, short = (Preparer().prepare(recipe(data=data, max_length=length)) for length in (512, 64))
    losses = held_out_losses(loaded_base, None, short.dataset, short.split.eval, 64)
    dataset, parts = short.texts
    assert losses.row.tolist() == dataset.column("row")[parts.eval].tolist()
    assert losses.tokens.tolist() == (dataset.lengths[parts.eval] - 1).tolist()
    model = plain_model(short.recipe.base)
    for i, example in enumerate(parts.eval):
        ids = torch.from_numpy(dataset.example(example)[0].astype(np.int64))
        windows = [ids[start : start + 64] for start in range(0, len(ids) - 1, 63)]
        expected = sum(
            F.cross_entropy(model(w[None]).logits[0, :-1], w[1:], reduction="sum").item() for w in windows
        )
        assert losses.loss[i] == pytest.approx(expected, rel=1e-5)
    others = held_out_losses(loaded_base, None, whole.dataset, whole.split.eval, 512)
    assert others.tokens.tolist() == losses.tokens.tolist()
    mine, _ = matching_examples(losses, others)  # the others have had more before them
    assert sorted(mine) == np.flatnonzero(losses.tokens < 64).tolist() != []
    assert len(mine) < len(parts.eval)
