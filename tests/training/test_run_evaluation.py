"""A run's evaluations on the way: what is due, what is kept, and when it is enough."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import random_adapter
from paceline.config.load import make_recipe
from paceline.errors import TrainingError
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.runs.directory import RunDirectory
from paceline.runs.events import EvalEvent, Event, ScoreEvent
from paceline.runs.losses import ExampleLosses
from paceline.training import run_evaluation
from paceline.training.checkpoint import Progress
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.prepare import Prepared
from paceline.training.run_evaluation import RunEvaluation, no_scorer
from paceline.training.run_log import RunLog


def losses(mean: float) -> ExampleLosses:
    ones = np.ones(2, dtype=np.int64)
    return ExampleLosses(["s"] * 2, ones, ["t"] * 2, ones, np.full(2, mean), ones, np.full(2, np.nan), ones)


class Setting:
    """An evaluation whose held-out losses are given, beside what it writes to."""

    def __init__(
        self, prepared: Prepared, base: Base, folder: Path, *, given: list[float], **fields: Any
    ) -> None:
        self.scores: Iterator[float] = iter(fields.pop("scores", ()))
        recipe = make_recipe({**prepared.recipe.model_dump(), **fields}, "test")
        self.prepared, self.adapter = replace(prepared, recipe=recipe), random_adapter(base, recipe)
        self.progress, self.directory = Progress(), RunDirectory(folder)
        self.directory.claim(recipe)
        self.asked: list[Adapter | None] = []
        self.recipe = recipe
        run: Any = self
        self.log = RunLog(run, self.progress, prepared.plan, ())
        reference = HiddenStateCache(base)
        self.evaluation = RunEvaluation(
            base, self.prepared, self.adapter, self.directory, self.progress, self.log, reference, self.score
        )
        self._given = iter(given)
        vars(self.evaluation)["_losses"] = lambda: losses(next(self._given))

    def score(self, adapter: Adapter | None, step: int) -> float:
        self.asked.append(adapter)
        return float(next(self.scores))

    def walk(self, steps: int) -> None:
        for step in range(1, steps + 1):
            self.progress.step = step
            self.evaluation.if_due()

    def events(self) -> list[Event]:
        return self.log.close()


@pytest.fixture
def make(prepared: Prepared, loaded_base: Base, tmp_path: Path) -> Any:
    def setting(*given: float, **fields: Any) -> Setting:
        return Setting(prepared, loaded_base, tmp_path / "run", given=list(given), **fields)

    return setting


def evaluated(events: list[Event]) -> list[tuple[str, int, float]]:
    return [(event.name, event.step, event.loss) for event in events if isinstance(event, EvalEvent)]


def test_evaluations_come_every_so_many_steps(make: Any) -> None:
    setting = make(3.0, 2.0, eval_steps=2)
    setting.walk(5)
    assert evaluated(setting.events()) == [("eval", 2, 3.0), ("eval", 4, 2.0)]


def test_without_steps_there_are_none_on_the_way(make: Any) -> None:
    setting = make()
    setting.walk(5)
    assert setting.events() == []


def test_the_base_is_told_first_and_an_adapter_from_elsewhere_too(make: Any) -> None:
    setting = make(2.5)
    setting.evaluation.begin(losses(3.0), from_parent=True)
    assert evaluated(setting.events()) == [("base", 0, 3.0), ("start", 0, 2.5)]
    assert ExampleLosses.read(setting.directory.eval / "base.parquet").loss.tolist() == [3.0, 3.0]


def test_losses_that_get_no_better_are_enough(make: Any) -> None:
    setting = make(2.0, 2.5, 1.5, 1.5, 1.5, eval_steps=1, early_stop_patience=2)
    for step, enough in enumerate([False, False, False, False, True], 1):
        setting.progress.step = step
        setting.evaluation.if_due()
        assert (setting.evaluation.stop is not None) == enough


def test_the_best_adapter_is_kept_and_comes_back_at_the_end(make: Any) -> None:
    setting = make(2.0, 1.5, 1.75, 1.875, 1.5, eval_steps=1, load_best=True)
    states = []
    for step in (1, 2, 3):
        setting.adapter.parameters.fill_(step)
        setting.progress.step = step
        setting.evaluation.if_due()
        states.append((setting.progress.best_step, setting.progress.best_loss))
    assert states == [(1, 2.0), (2, 1.5), (2, 1.5)]
    setting.progress.step = 4
    kept = setting.evaluation.last()
    assert torch.equal(setting.adapter.parameters, torch.full_like(setting.adapter.parameters, 2.0))
    assert evaluated(setting.events())[-2:] == [("final", 4, 1.875), ("best", 4, 1.5)]
    assert kept.loss.tolist() == [1.5, 1.5]


def test_a_last_step_that_is_the_best_is_not_evaluated_twice(make: Any) -> None:
    setting = make(2.0, 1.0, eval_steps=1, load_best=True)
    setting.walk(1)
    setting.progress.step = 2
    setting.evaluation.last()
    assert [name for name, _, _ in evaluated(setting.events())] == ["eval", "final"]


def test_a_benchmark_is_asked_of_the_base_and_every_so_many_steps(make: Any) -> None:
    setting = make(eval={"mtbench": {"during": {"steps": 2, "patience": 1}}}, scores=[5.0, 5.5, 5.5])
    setting.evaluation.begin(losses(3.0), from_parent=False)
    setting.walk(3)
    assert setting.evaluation.stop is None
    setting.progress.step = 4
    setting.evaluation.if_due()
    assert setting.evaluation.stop is not None
    assert setting.asked == [None, setting.adapter, setting.adapter]
    scored = [(e.name, e.step, e.score) for e in setting.events() if isinstance(e, ScoreEvent)]
    assert scored == [("base", 0, 5.0), ("eval", 2, 5.5), ("eval", 4, 5.5)]


def test_the_divergence_is_measured_where_there_is_an_anchor(
    prepared: Prepared, loaded_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def held_out(*arguments: object) -> ExampleLosses:
        seen.append(arguments[-1])
        return losses(1.0)

    monkeypatch.setattr(run_evaluation, "held_out_losses", held_out)
    for name, fields in {"plain": {}, "anchored": {"kl": {"measure": True}}}.items():
        setting = Setting(prepared, loaded_base, tmp_path / name, given=[], **fields)
        del vars(setting.evaluation)["_losses"]
        setting.evaluation.held_out("final")
    assert seen[0] is None
    assert isinstance(seen[1], HiddenStateCache)


def test_where_nothing_asks_and_grades_it_says_so() -> None:
    with pytest.raises(TrainingError, match=r"eval\.mtbench\.during needs something that asks and grades"):
        no_scorer(None, 0)
