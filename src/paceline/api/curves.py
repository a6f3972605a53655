"""The curves of runs: what each logged while it trained, and what was evaluated on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from paceline.api.svg import COLOURS, Line, line_chart
from paceline.report.curves import thin
from paceline.runs.events import EvalEvent, Event, TrainEvent, of_kind
from paceline.runs.files import JsonObject

if TYPE_CHECKING:
    import pandas as pd

# Of one curve: more than a small chart has pixels for.
_POINTS = 400


@dataclass(frozen=True)
class Curves:
    """The logged steps and the evaluations of runs, by the run's name.

    Losses are in nats a token. A train loss is the mean over the steps since the line before it; a held-out
    loss is over all held-out examples, at step 0 that of the bare base.
    """

    events: Mapping[str, Sequence[Event]]

    def to_dict(self) -> dict[str, list[JsonObject]]:
        """{run: one mapping a logged step or evaluation}; figures that are not finite are left out."""
        return {run: [_point(event) for event in _drawn(events)] for run, events in self.events.items()}

    def to_pandas(self) -> pd.DataFrame:
        """One row a logged step (`event` is train) or evaluation (eval), with all its figures."""
        import pandas as pd

        points = [{"run": run, **point} for run, of_run in self.to_dict().items() for point in of_run]
        return pd.DataFrame(points)

    def _repr_html_(self) -> Markup:
        lines = []
        for number, (run, events) in enumerate(self.events.items()):
            colour = COLOURS[number % len(COLOURS)]
            lines += [_train_line(run, of_kind(events, TrainEvent), colour)]
            lines += [_eval_line(of_kind(events, EvalEvent), colour)]
        drawn = [line for line in lines if line.points]
        return line_chart(drawn, "step", "loss, nats a token; dashed: held out")


def _drawn(events: Iterable[Event]) -> list[TrainEvent | EvalEvent]:
    return [event for event in events if isinstance(event, TrainEvent | EvalEvent)]


def _point(event: TrainEvent | EvalEvent) -> JsonObject:
    name = {"name": event.name} if isinstance(event, EvalEvent) else {}
    return {"event": event.event, **name, **event.figures, "step": event.step}


def _train_line(run: str, events: Sequence[TrainEvent], colour: str) -> Line:
    kept = [events[i] for i in thin([[event.loss] for event in events], _POINTS)]
    return Line(name=run, x=[e.step for e in kept], y=[e.loss for e in kept], colour=colour)


def _eval_line(events: Sequence[EvalEvent], colour: str) -> Line:
    steps, losses = [event.step for event in events], [event.loss for event in events]
    return Line(name="", x=steps, y=losses, colour=colour, dotted=True)
