"""A run's log: one JSON line an event, append-only; each kind of event is a type."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from paceline.errors import RunError
from paceline.runs.files import JsonObject, finite_or_null
from paceline.runs.losses import LossSummary, Measured, nan_for_null

Severity = Literal["error", "warning", "note"]
EvaluationName = Literal["base", "start", "eval", "final", "best"]


class _Event(BaseModel):
    """`step` counts optimizer steps, `epoch` passes over the training data, `seconds` the run's own work."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @property
    def figures(self) -> dict[str, float]:
        """The event's plain numbers by name, those that are not finite left out."""
        return {
            name: float(value)
            for name, value in self
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }


class TokenLengths(BaseModel):
    """Percentiles of the examples' lengths in tokens, before any cut."""

    model_config = ConfigDict(frozen=True)

    p50: int
    p95: int
    p99: int
    max: int


class DataFacts(BaseModel):
    """What a run's data came to. Counts are of examples; `mixture` and `train_mixture` count them by source.

    `truncated` are longer than max_length, `answers_lost` have no supervised token before it, `removed`
    counts what each cleaning rule took out. `bad_rows` counts unusable rows by kind of fault, and
    `bad_rows_file` lists them; `unused_columns` are those that nothing was read from; `notes` say of which
    rows the template or the reader made something other than a person may expect. `marginal_loss` is what
    the frequencies of the training answers alone give on the held-out ones, in nats a token.
    """

    model_config = ConfigDict(frozen=True)

    length: TokenLengths | None = None
    examples: int
    mixture: dict[str, int] = {}
    dropped_no_assistant: int
    truncated: int
    answers_lost: int
    train: int
    eval: int
    train_mixture: dict[str, int] = {}
    removed: dict[str, int] = {}
    bad_rows: dict[str, int] = {}
    bad_rows_file: str | None = None
    unused_columns: list[str] = []
    notes: list[str] = []
    marginal_loss: float | None = None
    packed_texts: int | None = None


class StartEvent(_Event, DataFacts):
    """The first line of every log; `trainable_parameters` are the adapter's."""

    event: Literal["start"] = "start"
    trainable_parameters: int | None = None
    total_steps: int
    steps_per_epoch: int


class ExtendEvent(_Event):
    """The run goes on beyond the length that it was begun with, or with fewer steps than that."""

    event: Literal["extend"] = "extend"
    step: int
    total_steps: int
    steps_per_epoch: int


class ModuleNorms(BaseModel):
    """Frobenius norms of A and B, and of the update s·B·A as a share of the frozen weight's."""

    model_config = ConfigDict(frozen=True)

    a: Measured
    b: Measured
    update: Measured


class AdapterNorms(BaseModel):
    """Norms by kind of module over all layers, and the update's share by layer."""

    model_config = ConfigDict(frozen=True)

    modules: dict[str, ModuleNorms]
    layers: dict[str, Measured]


class TrainEvent(_Event):
    """A logged step.

    `loss` (nats a token) is the mean over the steps since the last such line, all else is the last step's.

    `cross_entropy`, `kl` and `distill` are the terms of a loss that has several, `kl_weight` the anchor's
    weight. A figure that is NaN was not finite; one that is None was not logged.
    """

    event: Literal["train"] = "train"
    step: int
    epoch: float
    loss: Measured
    lr: float
    grad_norm: Annotated[float | None, BeforeValidator(nan_for_null)] = None
    token_accuracy: float
    tokens: int
    supervised_tokens: int
    seconds: float
    cross_entropy: float | None = None
    kl: float | None = None
    kl_weight: float | None = None
    distill: float | None = None
    norms: AdapterNorms | None = None


class _WithoutNorms(TrainEvent):
    """The same without norms, which are most of a line: read in an eighth of the time."""

    norms: ClassVar[None] = None  # type: ignore[misc]


class EvalEvent(_Event, LossSummary):
    """An evaluation on the held-out examples.

    `name`: base (the bare base), start (an adapter from elsewhere), eval (on the way), final, best (the
    adapter kept).
    """

    event: Literal["eval"] = "eval"
    step: int
    epoch: float
    name: EvaluationName
    seconds: float


class ScoreEvent(_Event):
    """A benchmark's score on the way; `name` is base or eval."""

    event: Literal["mtbench"] = "mtbench"
    step: int
    epoch: float
    name: Literal["base", "eval"]
    score: Measured
    seconds: float


class FindingEvent(_Event):
    """Something that the doctor or the training step noticed; `fix` maps dotted recipe fields to values."""

    event: Literal["finding"] = "finding"
    step: int
    rule: str
    severity: Severity
    message: str
    evidence: JsonObject = {}
    fix: JsonObject = {}
    advice: str = ""


class StopEvent(_Event):
    """The run ends before its last step, without fault.

    `rule` is the recipe's field that ended it for good, or `callback`: it was stopped, and can go on.
    """

    event: Literal["stop"] = "stop"
    step: int
    rule: str
    reason: str


class FailedEvent(_Event):
    """The run has failed at a step."""

    event: Literal["failed"] = "failed"
    step: int
    reason: str


_NotTrained = StartEvent | ExtendEvent | EvalEvent | ScoreEvent | FindingEvent | StopEvent | FailedEvent
Event = _NotTrained | TrainEvent
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])
_EVENT_WITHOUT_NORMS: TypeAdapter[Event] = TypeAdapter(
    Annotated[_NotTrained | _WithoutNorms, Field(discriminator="event")]
)
Kind = TypeVar("Kind", bound=_Event)


def of_kind(events: Iterable[Event], kind: type[Kind]) -> list[Kind]:
    """The events of one type, in order."""
    return [event for event in events if isinstance(event, kind)]


def start_of(events: Iterable[Event]) -> StartEvent | None:
    """What a log begins with, at the length that the run was extended to last; None: nothing was logged."""
    start: StartEvent | None = None
    for event in events:
        if isinstance(event, StartEvent):
            start = event
        elif isinstance(event, ExtendEvent) and start is not None:
            start = start.model_copy(update=event.model_dump(include={"total_steps", "steps_per_epoch"}))
    return start


class EventLog:
    """events.jsonl: append-only while a run trains, cut back to its checkpoint when a run resumes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)  # on a full disk nothing is left to be written later

    def write(self, event: Event) -> None:
        """Adds one line; numbers that are not finite are null there, its own beside `"finite": false`."""
        fields = finite_or_null(event.model_dump(exclude_none=True))
        if None in fields.values():
            fields["finite"] = False
        self._append((json.dumps(fields) + "\n").encode())

    def offset(self) -> int:
        """Bytes written so far, safe on disk."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def truncate(self, offset: int) -> None:
        """Forgets all after `offset` bytes."""
        self._file.truncate(offset)
        self._file.seek(offset)

    def restore(self, kept: bytes) -> bool:
        """Makes the log begin with `kept` and end there; whether it began with it."""
        same = self.path.read_bytes()[: len(kept)] == kept
        self.truncate(len(kept) if same else 0)
        if not same:
            self._append(kept)
        return same

    def close(self) -> None:
        self._file.close()

    def _append(self, content: bytes) -> None:
        while content:
            content = content[self._file.write(content) :]


def read_events(path: Path, last_norms_only: bool = False) -> list[Event]:
    """All whole lines of an event log; a torn last line (the run was killed while writing) is left out.

    Args:
        last_norms_only: whether only the last event that has norms keeps them.

    Raises:
        RunError: a line that is no event of this version, with its number.
    """
    if not path.is_file():
        return []
    events: list[Event] = []
    lines = path.read_bytes().split(b"\n")
    last = next((number for number in range(len(lines), 0, -1) if b'"norms"' in lines[number - 1]), 0)
    for number, line in enumerate(lines, 1):
        kind = _EVENT_WITHOUT_NORMS if last_norms_only and number != last else _EVENT
        try:
            events += [kind.validate_json(line)] if line.strip() else []
        except ValidationError as error:
            fault = error.errors()[0]
            if fault["type"] == "json_invalid" and number == len(lines):
                break
            field = ".".join(map(str, fault["loc"]))
            raise RunError(
                f"{path} line {number}: not an event that this version reads ({field}: {fault['msg']})"
            ) from error
    return events
