"""A comparison that shows itself, and comparing from Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from paceline.api.html import join, paragraph, table
from paceline.api.svg import interval_bar
from paceline.comparison import table as compare_table
from paceline.comparison.noise import noise_for
from paceline.comparison.rows import Row
from paceline.report.format import clock
from paceline.report.published import Figure, read_published, reasons
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluation_status import not_evaluated
from paceline.runs.files import JsonObject
from paceline.runs.study import run_directories
from paceline.stats.recipes import RecipeDifference

if TYPE_CHECKING:
    import pandas as pd

_HEADINGS = (
    "recipe",
    "eval loss",
    "token acc.",
    "steps",
    "tokens",
    "time",
    "Δ from baseline, 95% interval",
    "",
    "verdict",
)


@dataclass(frozen=True, kw_only=True)
class Comparison(compare_table.Comparison):
    """Recipes against the first, the baseline; `conclusion()` says in a sentence what can be said of them.

    Losses and differences are in nats a token, a negative difference is better, times are in seconds.
    `published` are the figures that the study's authors published, beside those measured here.
    """

    published: list[Figure]

    def to_dict(self) -> JsonObject:
        """The same for a script, JSON-ready: what `paceline compare --json` prints."""
        recipes = []
        for row in self.rows:
            fields = vars(row).copy()
            fields["replicates"] = [vars(replicate) for replicate in row.replicates]
            fields["tasks"] = {task: figures.model_dump() for task, figures in row.tasks.items()}
            for name in ("difference", "from_base"):
                fields[name] = _difference(getattr(row, name))
            recipes.append(fields)
        return {
            "base_loss": self.base_loss,
            "base_token_accuracy": self.base_token_accuracy,
            "recipes": recipes,
            "best": self.best,
            "from_best": {name: _difference(d) for name, d in self.from_best.items()},
            "covers_seeds": self.covers_seeds,
            "examples": self.examples,
            "left_out": self.left_out,
            "seed_noise": self._noise(),
            "missing": {
                name: status.model_dump(include={"state", "step", "total_steps", "reason"})
                for name, status in self.missing.items()
            },
            "caveats": [caveat.text for caveat in self.caveats],
            "evaluations": [status.model_dump() for status in self.evaluations],
            "footnotes": self.footnotes(),
            "conclusion": self.conclusion(),
            "published": [vars(figure) for figure in self.published],
        }

    def _noise(self) -> JsonObject | None:
        """The seeds' noise, whose it is, and by which rule it was used."""
        if self.noise is None or self.family is None:
            return None
        used, moved = self.family.seeds, self.noise.moved
        return {
            **vars(self.noise),
            "moved": moved if math.isfinite(moved) else None,
            "from": self.earlier.study if self.earlier and used.known_used else None,
            "measured": self.earlier.measured if self.earlier and used.known_used else used.measured,
            "taken_over": used.taken_over,
            "welch": used.welch,
            "blocked": used.blocked,
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row a recipe, by name; `delta`, `low`, `high` and `verdict` are empty for the baseline."""
        import pandas as pd

        dropped = ("tasks", "replicates", "from_base")
        recipes = [{k: v for k, v in row.items() if k not in dropped} for row in self.to_dict()["recipes"]]
        flat = [{**row, **(row["difference"] or {})} for row in recipes]
        return pd.DataFrame(flat).drop(columns="difference").set_index("name")

    def _repr_html_(self) -> Markup:
        bounds = [
            abs(b) for row in self.rows if row.difference for b in (row.difference.low, row.difference.high)
        ]
        largest = max(filter(math.isfinite, bounds), default=0.0)
        figures = ("(base)", f"{self.base_loss:.4f}", f"{self.base_token_accuracy:.1%}")
        base = (*figures, *[""] * (len(_HEADINGS) - len(figures)))
        rows = [base, *(_cells(row, largest, row is self.rows[0]) for row in self.rows)]
        missing = [paragraph(caveat.text) for caveat in self.caveats]
        missing += [paragraph(sentence) for sentence in not_evaluated(self.evaluations)]
        notes = map(paragraph, [*self.footnotes(), self.conclusion()])
        return join([table(_HEADINGS, rows), *missing, *notes, *_published(self.published)])


def _published(figures: Sequence[Figure]) -> list[Markup]:
    if not figures:
        return []
    rows = [
        (f.run, f.name, f.published, "not comparable" if f.not_comparable else f.measured, f.unit)
        for f in figures
    ]
    why = [
        paragraph(f"{', '.join(runs)}: not comparable with what was published, since {reason}")
        for reason, runs in reasons(figures).items()
    ]
    return [table(("run", "figure", "published", "measured here", "unit"), rows), *why]


def _difference(d: RecipeDifference | None) -> JsonObject | None:
    if d is None:
        return None
    return {
        "delta": d.delta,
        "low": d.low,
        "high": d.high,
        "seed_error": d.seed_error,
        "example_error": d.unit_error,
        "freedom": d.freedom if math.isfinite(d.freedom) else None,
        "verdict": d.verdict,
    }


def _cells(row: Row, largest: float, is_baseline: bool) -> tuple[object, ...]:
    d = row.difference
    figures = (
        row.name + row.seeds_shown,
        f"{row.eval_loss:.4f}",
        f"{row.token_accuracy:.1%}",
        row.steps_shown,
        row.tokens,
        clock(row.seconds),
    )
    if d is None:
        return (*figures, "", "", "baseline" if is_baseline else "no shared example")
    change = f"{d.delta:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
    return (*figures, change, interval_bar(d.delta, d.low, d.high, largest), d.verdict)


def compare(paths: str | Path | Iterable[str | Path], noise: str | Path | None = None) -> Comparison:
    """Compares finished recipes with the first of them, example by example and seed by seed.

    Args:
        paths: a study's folder, or run directories; the first recipe is the baseline.
        noise: the folder of an earlier study of the same base, data and split, whose replicates say how much
            a loss moves with the seed; not used where a recipe here has replicates of its own.

    Raises:
        RunError: a path that is neither, or no run that has finished; a `noise` study of another base or
            data, or without replicates.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    directories = run_directories([Path(path) for path in listed])
    return compare_directories(directories, None if noise is None else run_directories([Path(noise)]))


def compare_directories(
    directories: list[RunDirectory], noise_from: list[RunDirectory] | None = None
) -> Comparison:
    """The same for run directories that are known already."""
    earlier = None if noise_from is None else noise_for(directories, noise_from)
    compared = compare_table.compare(directories, earlier=earlier)
    return Comparison(**vars(compared), published=read_published(directories))
