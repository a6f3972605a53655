"""A longer recipe on a run that has begun: equal to the longer run, or said to differ, or refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeRecipe, MakeStudy, StopWhen, adapter_bytes
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.events import EvalEvent, ExtendEvent, TrainEvent, of_kind, read_events, start_of
from paceline.runs.losses import ExampleLosses
from paceline.training.callbacks import Callback
from paceline.training.study import TrainingOptions, train_study

EXTEND = TrainingOptions(extend=True)
SMALL: dict[str, Any] = {"batch_size": 2, "grad_accum": 1}
STEADY: dict[str, Any] = {**SMALL, "lr_scheduler": "constant", "warmup_ratio": 0, "save_steps": 3}


class Lines(Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, message: str) -> None:
        self.lines.append(message)


def log_of(folder: Path) -> list[dict[str, Any]]:
    events = [event for event in read_events(folder / "events.jsonl") if not isinstance(event, ExtendEvent)]
    return [event.model_dump(exclude={"seconds", "total_steps"}) for event in events]


def extend(study: Any, folder: Path) -> list[str]:
    told = Lines()
    train_study(study, folder, replace(EXTEND, callbacks=[told]))
    return told.lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        STEADY,
        {**STEADY, "lr_scheduler": "constant_with_warmup", "warmup_steps": 2, "logging_steps": 2},
        {**STEADY, "eval_steps": 4, "load_best": True, "early_stop_patience": 9, "lora_dropout": 0.1},
        {**STEADY, "eval_steps": 7, "logging_steps": 7},
    ],
)
@pytest.mark.parametrize("steps", [7, 8])
def test_a_finished_run_goes_on_as_the_longer_run(
    fields: dict[str, Any], steps: int, recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    longer = study(a=recipe(**fields, max_steps=14))
    train_study(longer, tmp_path / "whole")
    train_study(study(a=recipe(**fields, max_steps=steps)), tmp_path / "run")
    if fields.get("load_best") and steps == 7:
        with pytest.raises(RunError, match="load_best: its best adapter is of step 7"):
            extend(longer, tmp_path / "run")
        return
    lines = extend(longer, tmp_path / "run")
    said = f"a: goes on from step {steps} to 14 (it was to end at {steps}); its rates so far are those of the"
    assert any(line.startswith(said) for line in lines)
    assert adapter_bytes(tmp_path / "run" / "a") == adapter_bytes(tmp_path / "whole" / "a")
    assert log_of(tmp_path / "run" / "a") == log_of(tmp_path / "whole" / "a")
    assert start_of(read_events(tmp_path / "run" / "a" / "events.jsonl")).total_steps == 14
    files = [tmp_path / name / "a" / "eval" / "final.parquet" for name in ("run", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_stopped_run_is_extended_too_and_again_after_a_stop(
    recipe: MakeRecipe, study: MakeStudy, sums: str, tmp_path: Path
) -> None:
    """More epochs: the data of the second one come in their own order."""
    fields = {**STEADY, "max_steps": None, "data": {"source": sums, "n": 20}, "batch_size": 6}
    longer = study(a=recipe(**fields, epochs=3))
    train_study(longer, tmp_path / "whole")
    at_two, at_ten = (StopWhen(lambda cohort, n=n: cohort.runs[0].step >= n) for n in (2, 5))
    train_study(study(a=recipe(**fields, epochs=1)), tmp_path / "run", TrainingOptions(callbacks=[at_two]))
    train_study(longer, tmp_path / "run", replace(EXTEND, callbacks=[at_ten]))
    assert RunDirectory(tmp_path / "run" / "a").status().state == "stopped"
    train_study(longer, tmp_path / "run")  # it is the longer run's by now
    assert adapter_bytes(tmp_path / "run" / "a") == adapter_bytes(tmp_path / "whole" / "a")
    assert log_of(tmp_path / "run" / "a") == log_of(tmp_path / "whole" / "a")


def test_a_schedule_that_depends_on_the_length_goes_on_at_the_longer_ones_rates(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    train_study(study(a=recipe(**SMALL, max_steps=4, warmup_ratio=0)), tmp_path / "run")
    longer = study(a=recipe(**SMALL, max_steps=8, warmup_ratio=0))
    line = next(line for line in extend(longer, tmp_path / "run") if "goes on" in line)
    assert "cosine depends on the length: its first 4 steps had the rates of 4 steps" in line
    assert "from here on those of 8 (0.0005), so it is not what 8 steps from the start would be" in line
    rates = [event.lr for event in of_kind(read_events(tmp_path / "run" / "a" / "events.jsonl"), TrainEvent)]
    train_study(longer, tmp_path / "whole")
    whole = [e.lr for e in of_kind(read_events(tmp_path / "whole" / "a" / "events.jsonl"), TrainEvent)]
    assert rates[4:] == whole[4:]
    assert rates[:4] != whole[:4]


def test_warmup_stable_decay_goes_on_from_before_the_decay(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    fields = {**SMALL, "lr_scheduler": "warmup_stable_decay", "warmup_steps": 1, "decay_ratio": 0.5}
    fields |= {"save_steps": 2}
    train_study(study(a=recipe(**fields, max_steps=8)), tmp_path / "run")
    longer = study(a=recipe(**fields, max_steps=12))
    # the newest checkpoints are of steps 4 and 6; the decay began after the fourth
    assert any(line.startswith("a: goes on from step 4 to 12") for line in extend(longer, tmp_path / "run"))
    train_study(longer, tmp_path / "whole")
    assert adapter_bytes(tmp_path / "run" / "a") == adapter_bytes(tmp_path / "whole" / "a")


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        ({}, {"lr": 2e-3, "max_steps": 4}, "not lr; train under another name"),
        ({}, {"data": {"n": 50}, "max_steps": 4}, "not data.n"),
        ({}, {"max_steps": 1}, "it has taken all of its 2 steps, and none is left"),
        ({}, {"eval_steps": 1}, "none is left to train or to log; give it more --epochs or --max-steps"),
        ({}, {"track": "tensorboard"}, "none is left to train or to log"),
        (
            {"load_best": True, "eval_steps": 2},
            {"eval_steps": 1, "max_steps": 4},
            "other eval_steps would choose another adapter",
        ),
        (
            {"max_steps": 6, "eval_steps": 1, "early_stop_patience": 1, "early_stop_min_delta": 9.0},
            {"max_steps": 9},
            r"it stopped early at step 2 of 6: eval loss had not fallen by 9 for 1 evaluation \(lowest \d",
        ),
    ],
)
def test_what_is_not_well_defined_is_refused_and_changes_nothing(
    first: dict[str, Any],
    then: dict[str, Any],
    why: str,
    recipe: MakeRecipe,
    study: MakeStudy,
    sums: str,
    tmp_path: Path,
) -> None:
    fields: dict[str, Any] = {**STEADY, "max_steps": 2, **first}
    if "data" in then:
        then = {**then, "data": {"source": sums, **then["data"]}}
    train_study(study(a=recipe(**fields)), tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=why):
        train_study(study(a=recipe(**{**fields, **then})), tmp_path, EXTEND)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_a_run_that_another_one_started_from_is_not_extended(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    train_study(
        study(a=recipe(**SMALL, max_steps=2), b=recipe(**SMALL, max_steps=2, init_from="a")), tmp_path
    )
    with pytest.raises(RunError, match="b started from its adapter, which would be another one"):
        train_study(
            study(a=recipe(**SMALL, max_steps=4), b=recipe(**SMALL, max_steps=2, init_from="a")),
            tmp_path,
            EXTEND,
        )


def test_without_the_flag_it_is_refused_with_a_hint(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    train_study(study(a=recipe(**SMALL, max_steps=2)), tmp_path)
    with pytest.raises(RunError, match=r"max_steps: 2 there, 4 now.*let it go on with --extend"):
        train_study(study(a=recipe(**SMALL, max_steps=4)), tmp_path)
    with pytest.raises(RunError, match=r"delete the directory$"):
        train_study(study(a=recipe(**SMALL, max_steps=4, lr=1.0)), tmp_path)


def test_results_of_the_shorter_run_do_not_stand_for_the_longer_one(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    train_study(study(a=recipe(**STEADY, max_steps=2)), tmp_path)
    (tmp_path / "a" / "eval" / "mtbench.json").write_text("{}")
    stop = StopWhen(lambda cohort: cohort.runs[0].step >= 3)
    train_study(study(a=recipe(**STEADY, max_steps=6)), tmp_path, replace(EXTEND, callbacks=[stop]))
    assert {path.name for path in (tmp_path / "a" / "eval").iterdir()} == {"base.parquet"}
    assert ExampleLosses.read(tmp_path / "a" / "eval" / "base.parquet").loss.all()


def test_only_other_evaluations_train_nothing(recipe: MakeRecipe, study: MakeStudy, tmp_path: Path) -> None:
    train_study(study(a=recipe(**SMALL, max_steps=2)), tmp_path)
    before = (
        adapter_bytes(tmp_path / "a"),
        len(of_kind(read_events(tmp_path / "a" / "events.jsonl"), EvalEvent)),
    )
    asked = recipe(**SMALL, max_steps=2, eval={"forgetting": {"source": "embedded:twix", "n": 4}})
    outcome = train_study(study(a=asked), tmp_path, EXTEND)
    assert outcome.skipped == ["a"]
    assert RunDirectory(tmp_path / "a").recipe() == asked
    after = (
        adapter_bytes(tmp_path / "a"),
        len(of_kind(read_events(tmp_path / "a" / "events.jsonl"), EvalEvent)),
    )
    assert before == after
