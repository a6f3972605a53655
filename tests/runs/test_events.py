"""The log of a run: every event comes back as it was, and what is no event is told with its line."""

import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from paceline.errors import RunError
from paceline.runs.events import (
    AdapterNorms,
    EvalEvent,
    Event,
    EventLog,
    FailedEvent,
    FindingEvent,
    ModuleNorms,
    ScoreEvent,
    StartEvent,
    TokenLengths,
    TrainEvent,
    of_kind,
    read_events,
)
from paceline.runs.losses import LossFigures

NAN, INF = math.nan, math.inf


def trained(step: int = 1, loss: float = 2.5, grad_norm: float | None = 1.25) -> TrainEvent:
    return TrainEvent(
        step=step,
        epoch=0.1 * step,
        loss=loss,
        lr=2e-5,
        grad_norm=grad_norm,
        token_accuracy=1 / 3,
        tokens=2048,
        supervised_tokens=1000,
        seconds=0.5,
        kl=0.1,
        kl_weight=0.05,
        cross_entropy=2.4,
        norms=AdapterNorms(
            modules={"q_proj": ModuleNorms(a=1.0, b=0.1, update=1e-9)}, layers={"0": 0.5, "11": 0.25}
        ),
    )


FIGURES = LossFigures(examples=3, tokens=40, loss=2.0, perplexity=7.4, token_accuracy=0.5, kl=0.01)
EVENTS: list[Event] = [
    StartEvent(
        length=TokenLengths(p50=10, p95=20, p99=30, max=40),
        examples=100,
        mixture={"a": 60, "b": 40},
        dropped_no_assistant=1,
        truncated=2,
        answers_lost=3,
        train=85,
        eval=9,
        train_mixture={"a": 50, "b": 35},
        removed={"near duplicate": 4},
        total_steps=22,
        steps_per_epoch=11,
    ),
    trained(),
    trained(2).model_copy(update={"norms": None, "kl": None, "distill": 0.3, "grad_norm": None}),
    EvalEvent(
        step=2, epoch=0.2, name="eval", seconds=1.5, tasks={"sum": FIGURES}, phases={}, **FIGURES.model_dump()
    ),
    ScoreEvent(step=0, epoch=0.0, name="base", score=4.5, seconds=2.0),
    FindingEvent(
        step=3, rule="r", severity="note", message="é", evidence={"x": [1, 2.5]}, fix={"eval.code.n": 5}
    ),
    FailedEvent(step=4, reason='loss nan\n"quoted"'),
]


def write(path: Path, *events: Event) -> Path:
    log = EventLog(path)
    for event in events:
        log.write(event)
    log.close()
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_every_kind_of_event_comes_back_as_it_was(log: Path) -> None:
    assert len({type(event) for event in EVENTS}) == 6
    assert read_events(write(log, *EVENTS)) == EVENTS
    assert len(log.read_text().splitlines()) == len(EVENTS)


def test_events_are_chosen_by_kind(log: Path) -> None:
    events = read_events(write(log, *EVENTS))
    assert of_kind(events, TrainEvent) == [EVENTS[1], EVENTS[2]]
    assert of_kind(events, FailedEvent) == [EVENTS[-1]]
    assert of_kind([], EvalEvent) == []


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_not_finite_comes_back_as_nan(value: float, log: Path) -> None:
    figures = FIGURES.model_copy(update={"loss": value, "perplexity": value})
    norms = AdapterNorms(
        modules={"q_proj": ModuleNorms(a=value, b=1.0, update=value)}, layers={"0": value, "1": 2.0}
    )
    events: list[Event] = [
        trained(1, value, value).model_copy(update={"norms": norms}),
        EvalEvent(
            step=1, epoch=1.0, name="final", seconds=0.0, tasks={"sum": figures}, **figures.model_dump()
        ),
        ScoreEvent(step=1, epoch=1.0, name="eval", score=value, seconds=0.0),
    ]
    step, evaluation, score = read_events(write(log, *events))
    assert isinstance(step, TrainEvent)
    assert isinstance(evaluation, EvalEvent)
    assert isinstance(score, ScoreEvent)
    assert step.grad_norm is not None
    assert step.norms is not None
    missing = [step.loss, step.grad_norm, step.norms.modules["q_proj"].a, step.norms.layers["0"]]
    missing += [evaluation.loss, evaluation.perplexity, evaluation.tasks["sum"].loss, score.score]
    assert all(math.isnan(value) for value in missing)
    assert step.norms.layers.keys() == {"0", "1"}
    assert step.norms.layers["1"] == 2.0
    assert step.norms.modules["q_proj"].b == 1.0


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_a_line_is_json_whatever_a_finding_has_seen(log: Path) -> None:
    evidence = {"losses": [1.0, NAN], "loss": INF, "by": {"task": (2.0, -INF)}}
    write(log, FindingEvent(step=1, rule="r", severity="error", message="m", evidence=evidence))
    line = json.loads(log.read_text(), parse_constant=refuse_constant)
    assert line["evidence"] == {"losses": [1.0, None], "loss": None, "by": {"task": [2.0, None]}}


def test_a_line_says_whether_its_own_figures_are_finite(log: Path) -> None:
    write(log, trained(1), trained(2, NAN))
    lines = [json.loads(line, parse_constant=refuse_constant) for line in log.read_text().splitlines()]
    assert [line.get("finite") for line in lines] == [None, False]
    assert lines[1]["loss"] is None


def test_figures_are_the_plain_numbers() -> None:
    figures = trained(3, NAN, 0.5).figures
    assert "loss" not in figures
    assert (figures["grad_norm"], figures["step"], figures["kl"]) == (0.5, 3.0, 0.1)
    assert not {"norms", "event", "distill"} & figures.keys()


def test_a_torn_last_line_is_left_out(log: Path) -> None:
    whole = write(log, *EVENTS).read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for size in range(last, len(whole) - 1, 7):
        log.write_bytes(whole[:size])
        assert read_events(log) == EVENTS[:-1]
    log.write_bytes(whole[:-1])
    assert read_events(log) == EVENTS, "only the line's end is missing"


def test_all_norms_but_the_last_may_be_left_out(log: Path) -> None:
    without = trained(3).model_copy(update={"norms": None})
    write(log, EVENTS[0], trained(1), trained(2), without, EVENTS[-1])
    whole, lean = read_events(log), read_events(log, last_norms_only=True)
    kept = [event.norms for event in lean if isinstance(event, TrainEvent)]
    assert (kept[0], kept[2]) == (None, None)
    assert kept[1] == trained(2).norms
    assert [event.figures for event in lean] == [event.figures for event in whole]
    assert list(map(of_step, lean)) == list(map(of_step, whole))


def of_step(event: Event) -> tuple[str, int | None]:
    return event.event, getattr(event, "step", None)


def test_no_file_is_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "nothing.jsonl") == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event": "coffee", "step": 1}', "coffee"),
        ('{"step": 1}', "event"),
        ('{"event": "failed", "step": "one", "reason": "r"}', "failed.step"),
        ('{"event": "failed", "step": 1}', "failed.reason"),
    ],
)
def test_a_line_that_is_no_event_is_told_with_its_number(line: str, said: str, log: Path) -> None:
    write(log, *EVENTS)
    log.write_text(log.read_text() + "\n" + line + "\n")
    with pytest.raises(
        RunError, match=rf"events\.jsonl line 9: not an event that this version reads .*{said}"
    ):
        read_events(log)


def test_fields_of_later_versions_are_passed_over(log: Path) -> None:
    log.write_text('{"event": "failed", "step": 1, "reason": "r", "mood": "bad"}\n')
    assert read_events(log) == [FailedEvent(step=1, reason="r")]


def test_a_log_is_cut_back_to_where_it_was(log: Path) -> None:
    write(log, EVENTS[0])
    opened = EventLog(log)
    opened.write(trained(1))
    there = opened.offset()
    assert there == log.stat().st_size
    opened.write(trained(2))
    opened.truncate(there)
    opened.write(trained(3))
    opened.close()
    assert read_events(log) == [EVENTS[0], trained(1), trained(3)]


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        trained().step = 5  # type: ignore[misc]


def test_a_broken_line_before_others_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    failed = '{"event": "failed", "step": 1, "reason": "x"}'
    path.write_text(f"{failed}\n{{torn\n{failed}\n")
    with pytest.raises(RunError, match="line 2"):
        read_events(path)
