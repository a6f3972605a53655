"""The report's plots and tables as files for papers: PNG and SVG by matplotlib, CSV and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.errors import MissingExtra
from paceline.report.by_recipe import of_recipes
from paceline.report.collect import StudyFacts
from paceline.report.curves import HELD_OUT, Columns, RecipeCurves, curves
from paceline.report.plots import (
    Forest,
    Heat,
    HeatCell,
    TradeOff,
    forest,
    heats,
    trade_off,
)
from paceline.report.tables import write_tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart with any colour vision (Okabe and Ito 2008), darkened where a line on white would be faint; with
# marks and dashes, so that no colour is needed.
COLOURS = ("#0072b2", "#d55e00", "#00855f", "#b8588f", "#8a6d00", "#2f8fc4", "#4d4d4d")
MARKS, DASHES = "osD^v*XPph", ("-", "--", ":", "-.")
_VERDICTS = {"better": "#0b5fa5", "worse": "#a8480a", "differ": "#6d3f8f", "tie": "#5a6068"}
# Inches, and dots an inch of a PNG.
_WIDTH, _HEIGHT, _DPI = 6.4, 3.6, 200
_AXES = {
    "loss": "loss, nats a token",
    "token_accuracy": "token accuracy",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
}
_TRADES = {"seconds": "seconds of training", "tokens": "tokens of training"}
# Runs whose raw log is drawn, and recipes that a legend has room for.
_MOST_RAW, _MOST_NAMES = 16, 24
# Text stays text in an SVG, and the same study gives the same bytes.
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "paceline",
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
}


def write_figures(study: StudyFacts, folder: Path) -> list[Path]:
    """Writes every plot as PNG and SVG and every table as CSV and LaTeX; returns their paths.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("--figures", "matplotlib", "figures") from error
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with rc_context(_STYLE):
        for name, (height, draw) in _plots(study).items():
            figure = Figure(figsize=(_WIDTH, height), layout="constrained")
            draw(figure)
            for ending in ("png", "svg"):
                written.append(folder / f"{name}.{ending}")
                dated = {"Date": None} if ending == "svg" else None
                figure.savefig(written[-1], dpi=_DPI, metadata=dated)
    return written + write_tables(study, folder)


def _plots(study: StudyFacts) -> dict[str, tuple[float, Callable[[Figure], None]]]:
    """{file: (height in inches, what draws it)} of the plots that the study has figures for."""
    recipes = [own for own in curves(of_recipes(study)) if own.smooth["step"]]
    found: dict[str, tuple[float, Callable[[Figure], None]]] = {}
    if study.comparison:
        differences, points = forest(study.comparison), trade_off(study.comparison)
        over = "examples and seeds" if study.comparison.covers_seeds else "examples"
        height = 1.0 + 0.28 * len(differences.rows)
        found["forest"] = height, lambda figure: _forest(figure, differences, over)
        for x in _TRADES:
            found[f"loss-by-{x}"] = _HEIGHT, partial(_trade_off, points=points, x=x)
    for y in _AXES if recipes else ():
        found[f"curves-{y.replace('_', '-')}"] = _HEIGHT, partial(_curves, recipes=recipes, y=y)
    for name, heat in heats(study).items():
        found[name] = 1.2 + 0.26 * len(heat.rows), partial(_heat, heat=heat)
    return found


def _forest(figure: Figure, plot: Forest, over: str) -> None:
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=0.8)
    for place, row in enumerate(plot.rows):
        if row.d is None:
            continue
        colour, delta = _VERDICTS[row.d.verdict], row.d.delta
        low, high = max(row.d.low, plot.low), min(row.d.high, plot.high)
        near, far = delta - row.inner, delta + row.inner
        axes.hlines(place, low, high, color=colour, linewidth=1.2)
        axes.hlines(place, near, far, color=colour, linewidth=4, alpha=0.5)
        axes.plot(row.seeds, [place - 0.25] * len(row.seeds), "o", color="black", markersize=2, alpha=0.6)
        axes.plot([delta], [place], "o", color=colour, markersize=5)
        axes.annotate(
            row.d.verdict, (1.01, place), xycoords=("axes fraction", "data"), va="center", color=colour
        )
    axes.set_yticks(range(len(plot.rows)), [f"{_text(row.recipe)}{row.seeds_shown}" for row in plot.rows])
    axes.set_ylim(len(plot.rows) - 0.5, -0.6)
    axes.set_xlim(plot.low, plot.high)
    axes.set_xlabel(f"Δ held-out loss from {_text(plot.against)}, nats a token; 95% over {over}")


def _curves(figure: Figure, recipes: Sequence[RecipeCurves], y: str) -> None:
    axes = figure.subplots()
    few = sum(len(own.runs) for own in recipes) <= _MOST_RAW
    for number, own in enumerate(recipes):
        colour, dash = COLOURS[number % len(COLOURS)], _dash(number)
        for run in own.runs if few and y != "lr" else ():
            axes.plot(*_points(run, y), color=colour, linewidth=0.5, alpha=0.25)
        axes.plot(*_points(own.smooth, y), color=colour, linestyle=dash, linewidth=1.5, label=_text(own.name))
        if y in HELD_OUT and own.eval["step"]:
            (held,) = axes.plot(*_points(own.eval, y), color=colour, linestyle=dash, linewidth=0.8)
            held.set(marker=_mark(number), markersize=5)
    axes.set_xlabel("step")
    axes.set_ylabel(_AXES[y] + (" (marks: held out)" if y in HELD_OUT else ""))
    if y == "grad_norm":
        axes.set_yscale("log")
    _name(figure, axes, len(recipes))


def _trade_off(figure: Figure, points: Sequence[TradeOff], x: str) -> None:
    axes = figure.subplots()
    for number, one in enumerate(points):
        colour, at = COLOURS[number % len(COLOURS)], getattr(one, x)
        axes.plot([at] * len(one.losses), one.losses, _mark(number), color=colour, markersize=3, alpha=0.5)
        axes.plot([at], [one.loss], _mark(number), color=colour, markersize=7, label=_text(one.recipe))
    axes.set_xlim(0, 1.08 * max(getattr(one, x) for one in points) or 1.0)
    axes.set_xlabel(_TRADES[x])
    axes.set_ylabel("held-out loss, nats a token")
    _name(figure, axes, len(points))


def _heat(figure: Figure, heat: Heat) -> None:
    axes = figure.subplots()
    leaning = [
        [
            _leaning(heat.cells[row, column]) if (row, column) in heat.cells else math.nan
            for column in heat.columns
        ]
        for row in heat.rows
    ]
    axes.imshow(leaning, cmap="RdBu", vmin=-160, vmax=160, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(len(heat.columns)), list(map(_text, heat.columns)), rotation=30, ha="right")
    axes.set_yticks(range(len(heat.rows)), list(map(_text, heat.rows)))
    for place in {*heat.cells}:
        at = heat.columns.index(place[1]), heat.rows.index(place[0])
        axes.text(*at, heat.cells[place].shown, ha="center", va="center", fontsize=7)


def _leaning(cell: HeatCell) -> float:
    """From -100 (worst) to 100 (best): blue is better."""
    return cell.much if cell.is_better else -cell.much


def _points(columns: Columns, y: str) -> tuple[list[float], list[float]]:
    """Steps and figures; one that is missing is a gap."""
    steps, values = ([math.nan if v is None else v for v in columns[column]] for column in ("step", y))
    return steps, values


def _name(figure: Figure, axes: Axes, recipes: int) -> None:
    """One legend under the plot, which covers none of it."""
    if recipes <= _MOST_NAMES:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)


def _dash(number: int) -> str:
    return DASHES[number // len(COLOURS) % len(DASHES)]


def _mark(number: int) -> str:
    return MARKS[number % len(MARKS)]


def _text(name: str) -> str:
    """A name as it is: matplotlib would read what stands between two dollars as a formula."""
    return name.replace("$", r"\$")
