"""A comparison that shows itself, and comparing from Python."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from paceline.api.html import join, paragraph, table
from paceline.api.svg import interval_bar
from paceline.comparison import table as compare_table
from paceline.report.format import clock
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluation_status import not_evaluated
from paceline.runs.files import JsonObject
from paceline.runs.study import run_directories

if TYPE_CHECKING:
    import pandas as pd

_HEADINGS = (
    "run",
    "eval loss",
    "token acc.",
    "steps",
    "tokens",
    "time",
    "Δ from baseline, 95% interval",
    "",
    "verdict",
)


class Comparison(compare_table.Comparison):
    """Runs against the first, the baseline; `conclusion()` says in a sentence which one won, if one did.

    Losses and differences are in nats a token, a negative difference is better, times are in seconds.
    """

    def to_dict(self) -> JsonObject:
        """The same for a script, JSON-ready: what `paceline compare --json` prints."""
        runs = []
        for row in self.rows:
            fields = vars(row).copy()
            fields["tasks"] = {task: figures.model_dump() for task, figures in row.tasks.items()}
            if (d := row.difference) is not None:
                fields["difference"] = {
                    "delta": d.delta,
                    "low": d.low,
                    "high": d.high,
                    "examples": d.n,
                    "left_out": d.left_out,
                    "verdict": d.verdict,
                }
            runs.append(fields)
        return {
            "base_loss": self.base_loss,
            "runs": runs,
            "best": self.best,
            "missing": self.missing,
            "evaluations": [status.model_dump() for status in self.evaluations],
            "conclusion": self.conclusion(),
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row a run, by name; `delta`, `low`, `high` and `verdict` are empty for the baseline."""
        import pandas as pd

        runs = [{k: v for k, v in run.items() if k != "tasks"} for run in self.to_dict()["runs"]]
        flat = [{**run, **(run["difference"] or {})} for run in runs]
        return pd.DataFrame(flat).drop(columns="difference").set_index("name")

    def _repr_html_(self) -> Markup:
        bounds = [
            abs(b) for row in self.rows if row.difference for b in (row.difference.low, row.difference.high)
        ]
        largest = max(filter(math.isfinite, bounds), default=0.0)
        base = ("(base)", f"{self.base_loss:.4f}", *[""] * (len(_HEADINGS) - 2))
        rows = [base, *(_cells(row, largest, row is self.rows[0]) for row in self.rows)]
        missing = [paragraph(f"{name}: {state}, no result") for name, state in self.missing.items()]
        missing += [paragraph(sentence) for sentence in not_evaluated(self.evaluations)]
        return join([table(_HEADINGS, rows), *missing, paragraph(self.conclusion())])


def _cells(row: compare_table.Row, largest: float, is_baseline: bool) -> tuple[object, ...]:
    d = row.difference
    figures = (
        row.name,
        f"{row.eval_loss:.4f}",
        f"{row.token_accuracy:.1%}",
        row.steps,
        row.tokens,
        clock(row.seconds),
    )
    if d is None:
        return (*figures, "", "", "baseline" if is_baseline else "no shared example")
    change = f"{d.delta:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
    return (*figures, change, interval_bar(d.delta, d.low, d.high, largest), d.verdict)


def compare(paths: str | Path | Iterable[str | Path]) -> Comparison:
    """Compares finished runs with the first of them, example by example.

    Args:
        paths: a study's folder, or run directories; the first run is the baseline.

    Raises:
        RunError: a path that is neither, or no run that has finished.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    return compare_directories(run_directories([Path(path) for path in listed]))


def compare_directories(directories: list[RunDirectory]) -> Comparison:
    """The same for run directories that are known already."""
    return Comparison(**vars(compare_table.compare(directories)))
