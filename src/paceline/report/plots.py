"""What the report's plots show, however they are drawn: the page and the figures for papers share it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from paceline.comparison.rows import Row
from paceline.comparison.table import Comparison
from paceline.report.by_recipe import of_recipes
from paceline.report.collect import StudyFacts
from paceline.report.evaluated import MTBenchRow, mtbench_rows
from paceline.stats.recipes import RecipeDifference

# Marks of an axis, about so many.
_MARKS = 5


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """A recipe's difference with its bounds, in nats a token; `inner` is half of what examples make.

    `d` is None for the baseline, and for a recipe that shares no example with it. `seeds` are the differences
    of its replicates from the baseline's same seed, or from its mean where seeds are not shared.
    """

    recipe: str
    seeds_shown: str
    d: RecipeDifference | None
    inner: float
    seeds: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Differences from `against`, the lowest loss first, on a scale from `low` to `high` with `marks`."""

    against: str
    rows: list[ForestRow]
    low: float
    high: float
    marks: list[float]

    def place(self, value: float) -> float:
        """Where a difference lies on the scale, in per cent of its width."""
        return min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low)))


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """A recipe's held-out loss with its replicates', against what training one of them took on average."""

    recipe: str
    loss: float
    losses: Sequence[float]
    step: float
    tokens: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class HeatCell:
    """A value, how far it is from the reference (100: the farthest), and whether that is better."""

    value: float
    shown: str
    much: int
    is_better: bool
    told: str


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A table of values shaded by how far they are from the reference; `named` says what rows are."""

    named: str
    rows: list[str]
    columns: list[str]
    cells: Mapping[tuple[str, str], HeatCell]


def forest(comparison: Comparison) -> Forest:
    """Every recipe's difference from the baseline; of a study of one recipe, its difference from the base."""
    baseline, *others = comparison.rows
    if others:
        order = sorted(
            comparison.rows, key=lambda row: (row is not baseline and row.difference is None, row.eval_loss)
        )
        rows = [_forest_row(row, row.difference, _seeds(row, baseline)) for row in order]
    else:
        rows = [_forest_row(baseline, baseline.from_base, ())]
    bounds = [value for row in rows if row.d for value in (row.d.low, row.d.high)]
    shown = [0.0, *filter(math.isfinite, bounds), *(value for row in rows for value in row.seeds)]
    pad = 0.04 * (max(shown) - min(shown)) or 0.01
    low, high = min(shown) - pad, max(shown) + pad
    against = baseline.name if others else "the bare base"
    return Forest(against=against, rows=rows, low=low, high=high, marks=marks(low, high))


def _forest_row(row: Row, d: RecipeDifference | None, seeds: Sequence[float]) -> ForestRow:
    error = math.hypot(d.seed_error, d.unit_error) if d else 0.0
    inner = d.half_width * d.unit_error / error if d and error and math.isfinite(d.half_width) else 0.0
    return ForestRow(recipe=row.name, seeds_shown=row.seeds_shown, d=d, inner=inner, seeds=seeds if d else ())


def _seeds(row: Row, baseline: Row) -> list[float]:
    if len(row.replicates) < 2:
        return []
    there = {replicate.seed: replicate.eval_loss for replicate in baseline.replicates}
    paired = all(replicate.seed in there for replicate in row.replicates)
    return [r.eval_loss - (there[r.seed] if paired else baseline.eval_loss) for r in row.replicates]


def trade_off(comparison: Comparison) -> list[TradeOff]:
    """Held-out loss against the length of training, recipe by recipe."""
    return [
        TradeOff(
            recipe=row.name,
            loss=row.eval_loss,
            losses=[replicate.eval_loss for replicate in row.replicates],
            step=fmean(replicate.steps for replicate in row.replicates),
            tokens=fmean(replicate.tokens for replicate in row.replicates),
            seconds=fmean(replicate.seconds for replicate in row.replicates),
        )
        for row in comparison.rows
    ]


def task_heat(study: StudyFacts) -> Heat | None:
    """Δ from the baseline by task and recipe, fewer of the two across; None where there are no tasks."""
    tasks = sorted({task for own in study.tasks.values() for task in own})
    if not tasks:
        return None
    most = max(abs(d.delta) for own in study.tasks.values() for d in own.values())
    across = len(study.tasks) > len(tasks)
    cells = {}
    for recipe, own in study.tasks.items():
        for task, d in own.items():
            told = f"{d.delta:+.4f} [{d.low:+.4f}, {d.high:+.4f}], {d.verdict}"
            shown = f"{d.delta:+.3f}" + ("" if d.verdict == "tie" else " *")
            cells[(recipe, task) if across else (task, recipe)] = HeatCell(
                value=d.delta, shown=shown, much=_much(d.delta, most), is_better=d.delta < 0, told=told
            )
    recipes = list(study.tasks)
    named = "recipe" if across else "task"
    return Heat(
        named=named, rows=recipes if across else tasks, columns=tasks if across else recipes, cells=cells
    )


def category_heat(rows: Sequence[MTBenchRow]) -> Heat | None:
    """MT-Bench by category, shaded by the distance from the first row, the base where it was asked."""
    categories = list(dict.fromkeys(category for row in rows for category in row.categories))
    if not categories:
        return None
    reference = rows[0].categories
    gains = {
        (category, row.recipe): row.categories[category] - reference.get(category, row.categories[category])
        for row in rows
        for category in row.categories
    }
    most = max(map(abs, gains.values()))
    cells = {}
    for row in rows:
        for category, score in row.categories.items():
            gain = gains[category, row.recipe]
            told = f"{gain:+.2f} from {rows[0].recipe}"
            cells[category, row.recipe] = HeatCell(
                value=score, shown=f"{score:.2f}", much=_much(gain, most), is_better=gain > 0, told=told
            )
    return Heat(named="category", rows=categories, columns=[row.recipe for row in rows], cells=cells)


def update_heat(study: StudyFacts) -> Heat | None:
    """How large the adapter's update is by kind of module, in per cent of the frozen weights' norms.

    Mean over replicates of their last logged steps; None where no run has logged norms.
    """
    shares: dict[tuple[str, str], list[float]] = {}
    for recipe in of_recipes(study):
        for run in recipe.runs:
            norms = next((event.norms for event in reversed(run.train) if event.norms), None)
            for kind, own in norms.modules.items() if norms else ():
                shares.setdefault((kind, recipe.name), []).append(100 * own.update)
    means = {place: fmean(values) for place, values in shares.items() if all(map(math.isfinite, values))}
    if not means:
        return None
    most = max(means.values())
    cells = {
        place: HeatCell(
            value=mean,
            shown=f"{mean:.0f}%" if mean >= 10 else f"{mean:.2g}%",
            much=_much(mean, most),
            is_better=True,
            told=f"{mean:.4g}% of the frozen weights' norm",
        )
        for place, mean in means.items()
    }
    kinds, recipes = (list(dict.fromkeys(place[at] for place in means)) for at in (0, 1))
    return Heat(named="module", rows=kinds, columns=recipes, cells=cells)


def heats(study: StudyFacts) -> dict[str, Heat]:
    """{name of a file: what it shows} of the shaded tables that the study has figures for."""
    found = {
        "tasks": task_heat(study),
        "mtbench-categories": category_heat(mtbench_rows(study)),
        "adapter-updates": update_heat(study),
    }
    return {name: heat for name, heat in found.items() if heat}


def _much(value: float, most: float) -> int:
    """The square root, so that one large value does not leave the others without colour."""
    return round(100 * math.sqrt(abs(value) / most)) if most else 0


def marks(low: float, high: float) -> list[float]:
    """Round values between two bounds, about five, for the marks of an axis."""
    rough = (high - low) / _MARKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [round(step * k, 12) for k in range(first, math.floor(high / step) + 1)]
