"""Starting runs: what each begins from, and the bare base measured once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeRecipe, MakeStudy, StopWhen, adapter_bytes, random_adapter
from paceline.errors import TrainingError
from paceline.model.base import Base
from paceline.runs.directory import RunDirectory
from paceline.runs.events import FailedEvent, StartEvent, read_events
from paceline.runs.losses import ExampleLosses
from paceline.training import heldout, start
from paceline.training.callbacks import Callback, RunView
from paceline.training.prepare import Prepared
from paceline.training.start import _same_examples, find_parent
from paceline.training.study import TrainingOptions, train_study


def test_a_run_starts_from_nothing_a_run_of_its_study_or_a_folder(
    recipe: MakeRecipe, study: MakeStudy, loaded_base: Base, tmp_path: Path
) -> None:
    made = recipe()
    elsewhere = tmp_path / "elsewhere"
    random_adapter(loaded_base, made).save(elsewhere / "adapter", made)
    runs = study(
        first=made,
        second=recipe(init_from="first"),
        run=recipe(init_from=str(elsewhere)),
        adapter=recipe(init_from=str(elsewhere / "adapter")),
    )
    found = [find_parent(run, runs, tmp_path / "runs") for run in runs.runs]
    assert found == [None, tmp_path / "runs" / "first", elsewhere / "adapter", elsewhere / "adapter"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lora_r": 4}, "cannot start from first: lora_r is 4 here and 16 there"),
        ({"target_modules": ["q_proj"]}, "cannot start from first: target_modules"),
        ({"quantize": "nf4"}, "cannot start from first: quantize is 'nf4' here and 'none' there"),
        ({"init_from": "nowhere"}, "init_from 'nowhere' is neither a run of this study nor a folder"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    fields: dict[str, object], said: str, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    runs = study(first=recipe(), second=recipe(**{"init_from": "first", **fields}))
    with pytest.raises(TrainingError, match=f"run second: {said}"):
        find_parent(runs.runs[1], runs, tmp_path)


@pytest.mark.slow
def test_runs_with_the_same_examples_share_the_bases_losses(
    recipe: MakeRecipe, study: MakeStudy, sums: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, plain = [], heldout.held_out_losses

    def counted(*arguments: Any) -> ExampleLosses:
        measured.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(start, "held_out_losses", counted)
    data = {"source": sums, "n": 60}
    runs = {
        "one": recipe(data=data, max_steps=1),
        "same": recipe(data=data, max_steps=1, lr=0.5, order="base-loss"),
        "other": recipe(data={**data, "eval_ratio": 0.2}, max_steps=1),
    }
    train_study(study(**runs), tmp_path / "first")
    assert len(measured) == 3, "held out for one and same, training for same, held out for other"
    one, same, other = ((tmp_path / "first" / name / "eval" / "base.parquet").read_bytes() for name in runs)
    assert one == same != other
    train_study(study(again=runs["same"]), tmp_path / "elsewhere")
    stored = tmp_path / "elsewhere" / "again" / "eval" / "base.parquet"
    assert stored.read_bytes() == same


def test_examples_of_the_same_tokens_under_other_marks_are_measured_again(prepared: Prepared) -> None:
    dataset, mine = prepared.dataset, prepared.split.eval
    first = dataset.table.map(lambda row: {"mask": [*row["mask"][:-1], 1 - row["mask"][-1]]})
    same = replace(prepared, dataset=replace(dataset, table=dataset.table.select(range(len(dataset)))))
    other = replace(prepared, dataset=replace(dataset, table=first.cast(dataset.table.features)))
    assert _same_examples((prepared, mine), (same, mine))
    assert not _same_examples((prepared, mine), (other, mine))


def test_a_failed_parent_fails_its_child(recipe: MakeRecipe, study: MakeStudy, tmp_path: Path) -> None:
    explodes = recipe(
        lr=1e30,
        max_grad_norm=0,
        batch_size=4,
        grad_accum=1,
        max_steps=30,
        warmup_ratio=0,
        lr_scheduler="constant",
    )
    child = recipe(init_from="explodes", batch_size=4, grad_accum=1)
    states = train_study(study(explodes=explodes, child=child), tmp_path).states()
    assert states == {"explodes": "failed", "child": "failed"}
    (failed,) = read_events(tmp_path / "child" / "events.jsonl")
    assert failed == FailedEvent(step=1, reason="the run that it starts from, explodes, failed")


class Order(Callback):
    """Notes which runs began and ended, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_start(self, run: RunView, event: StartEvent) -> None:
        self.seen.append(f"{run.name} begins")

    def on_end(self, run: RunView) -> None:
        self.seen.append(f"{run.name} ends")


@pytest.mark.slow
def test_a_child_waits_for_its_parent(
    recipe: MakeRecipe, study: MakeStudy, sums: str, tmp_path: Path
) -> None:
    data = {"source": sums, "n": 60}
    runs = study(
        parent=recipe(data=data, max_steps=2),
        child=recipe(data=data, max_steps=1, init_from="parent", lr=1e-30),
        other=recipe(data=data, max_steps=4, init_from=None),
    )
    order = Order()
    train_study(runs, tmp_path, TrainingOptions(callbacks=[order]))
    assert order.seen.index("parent ends") < order.seen.index("child begins")
    assert order.seen.index("other begins") < order.seen.index("parent ends")


@pytest.mark.slow
def test_a_run_that_never_began_starts_when_the_command_comes_again(
    recipe: MakeRecipe, study: MakeStudy, sums: str, tmp_path: Path
) -> None:
    data = {"source": sums, "n": 60}
    runs = study(
        parent=recipe(data=data, max_steps=2), child=recipe(data=data, max_steps=2, init_from="parent")
    )
    stop = StopWhen(lambda cohort: cohort.runs[0].step == 1)
    states = train_study(runs, tmp_path / "stopped", TrainingOptions(callbacks=[stop])).states()
    assert states == {"parent": "stopped", "child": "new"}
    assert RunDirectory(tmp_path / "stopped" / "child").latest_checkpoint() is None
    train_study(runs, tmp_path / "stopped")
    train_study(runs, tmp_path / "whole")
    assert adapter_bytes(tmp_path / "stopped" / "child") == adapter_bytes(tmp_path / "whole" / "child")
