"""A user's callback sees what happens in order, may stop it, and cannot break what is saved."""

from pathlib import Path
from typing import Any

import pytest
from tiny_studies import tiny_recipe, tiny_study

import paceline


class Recorder(paceline.Callback):
    """Writes down (what, run, step)."""

    def __init__(self, stop_at: Any = None) -> None:
        self.seen, self.stop_at, self.entered = [], stop_at, []

    def __enter__(self) -> Any:
        self.entered.append("in")
        return self

    def __exit__(self, *_: Any) -> None:
        self.entered.append("out")

    def on_check(self, findings: Any) -> None:
        self.seen.append(("check", None, None))

    def on_start(self, run: Any, event: Any) -> None:
        self.seen.append(("start", run.name, run.step))

    def on_resume(self, run: Any, events: Any) -> None:
        self.seen.append(("resume", run.name, run.step))

    def on_step(self, run: Any, stats: Any) -> None:
        self.seen.append(("step", run.name, stats.step))

    def on_log(self, run: Any, event: Any) -> None:
        self.seen.append(("log", run.name, event.step))

    def on_evaluation(self, run: Any, event: Any) -> None:
        self.seen.append((event.name, run.name, event.step))

    def on_finding(self, run: Any, event: Any) -> None:
        self.seen.append((event.rule, run.name, event.step))

    def on_checkpoint(self, run: Any, folder: Any) -> None:
        self.seen.append(("checkpoint", run.name, run.step))

    def on_end(self, run: Any) -> None:
        self.seen.append((run.state, run.name, run.step))

    def on_trained(self, result: Any) -> None:
        self.seen.append(("trained", None, None))

    def wants_stop(self) -> Any:
        return self.stop_at is not None and ("step", "low", self.stop_at) in self.seen

    def of(self, name: Any) -> Any:
        return [(what, step) for what, run, step in self.seen if run in (name, None)]


@pytest.mark.slow
def test_a_callback_sees_a_run_in_order(tmp_path: Path) -> None:
    recorder = Recorder()
    paceline.run_study(tiny_study(save_steps=2, eval_steps=2), tmp_path, [recorder])
    assert recorder.of("low") == [
        ("check", None),
        ("start", 0),
        ("base", 0),
        ("step", 1),
        ("step", 2),
        ("log", 2),
        ("eval", 2),
        ("checkpoint", 2),
        ("step", 3),
        ("step", 4),
        ("log", 4),
        ("low-coverage", 4),
        ("final", 4),
        ("finished", 4),
        ("trained", None),
    ]
    assert recorder.of("high") == recorder.of("low")
    assert recorder.entered == ["in", "out"]


@pytest.mark.slow
def test_a_stop_saves_every_run_and_the_same_call_goes_on_as_if_there_had_been_none(
    trained: Any, tmp_path: Path
) -> None:
    study, whole = trained
    first, second = Recorder(stop_at=2), Recorder()
    stopped = paceline.run_study(study, tmp_path, [first])
    assert stopped.state == "stopped"
    assert {run.status.state for run in stopped} == {"stopped"}
    assert all(run.directory.latest_checkpoint().name == f"step-{run.status.step}" for run in stopped)
    assert stopped.evaluations == ()
    done = paceline.run_study(study, tmp_path, [second])
    assert done.state == "finished"
    assert [what for what in second.of("low") if what[0] != "check"] == [
        ("resume", 2),
        ("step", 3),
        ("step", 4),
        ("log", 4),
        ("low-coverage", 4),
        ("final", 4),
        ("finished", 4),
        ("trained", None),
    ]
    for run in done:
        ours, theirs = run.adapter, whole[run.name].adapter
        weights = "adapter_model.safetensors"
        assert (ours / weights).read_bytes() == (theirs / weights).read_bytes()


@pytest.mark.slow
def test_an_exception_in_a_callback_ends_cleanly_with_checkpoints_whole(trained: Any, tmp_path: Path) -> None:
    class Breaks(Recorder):
        def on_step(self, run: Any, stats: Any) -> None:
            super().on_step(run, stats)
            if stats.step == 3:
                raise ValueError("mine")

    study = tiny_study(save_steps=2)
    breaks = Breaks()
    with pytest.raises(ValueError, match="mine"):
        paceline.run_study(study, tmp_path, [breaks])
    assert breaks.entered == ["in", "out"]
    opened = paceline.open_study(tmp_path)
    assert [run.directory.latest_checkpoint().name for run in opened] == ["step-2", "step-2"]
    done = paceline.run_study(study, tmp_path)
    assert done.state == "finished"
    weights = "adapter/adapter_model.safetensors"
    for run in done:
        theirs = trained[1][run.name].directory.path
        assert (run.directory.path / weights).read_bytes() == (theirs / weights).read_bytes()


def test_a_check_that_finds_an_error_trains_nothing_and_carries_its_findings(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(paceline.CheckFailed, match="rate-out-of-range, wild") as caught:
        paceline.train(tiny_recipe(lr=10.0), tmp_path / "wild", [recorder])
    assert [finding.rule for finding in caught.value.findings.errors] == ["rate-out-of-range"]
    assert recorder.seen == [("check", None, None)]
    assert not (tmp_path / "wild").exists()


def test_one_run_is_a_study_of_one_and_is_not_checked_where_that_is_not_wanted(tmp_path: Path) -> None:
    run = paceline.train(tiny_recipe(max_steps=1), tmp_path / "one", check=False)
    assert (run.name, run.status.state, run.preflight) == ("one", "finished", ())


def test_runs_that_are_over_are_skipped_and_told(trained: Any) -> None:
    class Lines(paceline.Callback):
        said: list[str] = []  # noqa: RUF012

        def on_message(self, message: Any) -> None:
            self.said.append(message)

    study, result = trained
    lines = Lines()
    again = paceline.run_study(study, result.folder, [lines])
    assert again.skipped == ("low", "high")
    assert lines.said == ["finished before, skipped: low, high"]
