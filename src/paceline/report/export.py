"""Writes report.md and a report.html that holds everything it shows."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from paceline.comparison.recipes import BASE
from paceline.report.collect import StudyFacts
from paceline.report.conclusions import conclusions
from paceline.report.curves import curves
from paceline.report.format import clock
from paceline.report.published import reasons
from paceline.runs.evaluations import CodeScores, MTBenchScores, PairwiseScores
from paceline.runs.files import write_whole
from paceline.stats.recipes import RecipeDifference, RecipeFamily


@dataclass(frozen=True, kw_only=True)
class MTBenchRow:
    """A line of the MT-Bench table. `from_baseline` is the recipe's, None for the base and the baseline."""

    run: str
    scores: MTBenchScores
    from_baseline: RecipeDifference | None


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """A line of the table of answers preferred to the base's. `from_baseline` is as in `MTBenchRow`."""

    run: str
    pairs: PairwiseScores
    withheld: str
    from_baseline: RecipeDifference | None


@dataclass(frozen=True, kw_only=True)
class CodeRow:
    """A line of the table of executable tasks. `from_baseline` is as in `MTBenchRow`."""

    run: str
    suite: str
    tasks: int
    scores: CodeScores
    from_baseline: RecipeDifference | None


def write_report(study: StudyFacts, folder: Path, price: float | None = None) -> tuple[Path, Path]:
    """Writes both files into `folder` and returns their paths; `price` is what an hour of training costs."""
    content = {
        "study": study,
        "comparison": study.comparison,
        "conclusions": conclusions(study),
        "figures": study.published,
        "not_comparable": reasons(study.published),
        "price": price,
        "task_names": sorted({task for tasks in study.tasks.values() for task in tasks}),
        "mtbench": next((run.mtbench for run in study.runs if run.mtbench), None),
        "mtbench_rows": _mtbench_rows(study),
        "pair_rows": _pair_rows(study),
        "is_raw": any(row.scores.raw is not None for row in _mtbench_rows(study)),
        "code_rows": _code_rows(study),
        "left_out": _left_out(study),
        "hours": sum(run.status.seconds for run in study.runs) / 3600,
    }
    markdown, page = folder / "report.md", folder / "report.html"
    write_whole(markdown, markdown_environment().get_template("report.md.jinja").render(content))
    html = _environment(is_html=True).get_template("report.html.jinja")
    write_whole(page, html.render(content, **_embedded(study)))
    return markdown, page


def markdown_environment() -> Environment:
    """Templates for Markdown, with the filters that escape it."""
    return _environment(is_html=False)


def _environment(is_html: bool) -> Environment:
    """What models and data sets wrote is escaped: by autoescape, in Markdown by `cell` and `fence`."""
    environment = Environment(
        loader=PackageLoader("paceline.report"), autoescape=is_html, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "cell": _cell,
        "fence": _fence,
        "clock": clock,
        "number": _number,
        "shade": _shade,
    }
    return environment


def _mtbench_rows(study: StudyFacts) -> list[MTBenchRow]:
    """The base once, then every run that was asked."""
    scores: dict[str, MTBenchScores] = {}
    for run in study.runs:
        if run.mtbench:
            own = {name: run.mtbench.runs[name] for name in (BASE, run.name) if name in run.mtbench.runs}
            scores = {**own, **scores}
    order = [name for name in (BASE, *(run.name for run in study.runs)) if name in scores]
    from_baseline = _from_baseline(study, study.families.mtbench)
    return [
        MTBenchRow(run=name, scores=scores[name], from_baseline=from_baseline.get(name)) for name in order
    ]


def _pair_rows(study: StudyFacts) -> list[PairRow]:
    """Every run whose answers were compared with the base's."""
    from_baseline = _from_baseline(study, study.families.pairwise)
    return [
        PairRow(
            run=row.run,
            pairs=row.scores.pairwise,
            withheld=row.scores.withheld,
            from_baseline=from_baseline.get(row.run),
        )
        for row in _mtbench_rows(study)
        if row.scores.pairwise
    ]


def _from_baseline(study: StudyFacts, family: RecipeFamily | None) -> dict[str, RecipeDifference]:
    """{run: its recipe's difference from the baseline}."""
    baseline, *others = study.recipes
    if family is None or baseline.name not in family.means:
        return {}
    return {
        directory.name: family.between(recipe.name, baseline.name)
        for recipe in others
        if recipe.name in family.means
        for directory in recipe.directories
    }


def _code_rows(study: StudyFacts) -> list[CodeRow]:
    """The base once a suite, then every run."""
    rows: dict[tuple[str, str], CodeRow] = {}
    for run in study.runs:
        for suite, result in run.code.items():
            from_baseline = _from_baseline(study, study.families.code.get(suite))
            for name, scores in result.runs.items():
                row = CodeRow(
                    run=name,
                    suite=suite,
                    tasks=result.tasks,
                    scores=scores,
                    from_baseline=from_baseline.get(name),
                )
                rows.setdefault((suite, name), row)
    return list(rows.values())


def _left_out(study: StudyFacts) -> list[str]:
    """How many tasks of each suite do not count, and why."""
    results = [result for run in study.runs for result in run.code.values()]
    return list(
        dict.fromkeys(
            f"{count} of {result.drawn} {result.suite} tasks were left out: {reason}."
            for result in results
            for reason, count in result.left_out.items()
        )
    )


def _embedded(study: StudyFacts) -> dict[str, Markup]:
    """What the page carries: its data, its style and script, and plotly."""
    from plotly.offline import get_plotlyjs

    loader = PackageLoader("paceline.report")
    plain = Environment(loader=loader, autoescape=False)  # our own style and script hold no text of others
    bars = [
        {"run": row.run, "scores": {name: mean.value for name, mean in row.scores.categories.items()}}
        for row in _mtbench_rows(study)
    ]
    data = {"runs": [asdict(run) for run in curves(study.runs)], "mtbench": bars}
    return {
        "data": Markup(json.dumps(data).replace("<", "\\u003c")),
        "plotly": Markup(get_plotlyjs().replace("</script", "<\\/script")),
        "style": Markup(plain.get_template("report.css").render()),
        "script": Markup(plain.get_template("report.js").render()),
    }


def _cell(value: object) -> str:
    """A value inside a Markdown table or sentence: no markup of its own, one line."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


def _fence(text: str) -> str:
    """Text as a fenced block that nothing inside can close."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}text\n{text}\n{marks}"


def _number(value: object) -> str:
    """A figure as a person writes it: four places for a float, thousands apart for a count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) < 1e-3 or abs(value) >= 1e4:
        return f"{value:.4g}"
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _shade(delta: float, largest: float) -> str:
    """How far a cell of the heat map leans to better (negative) or worse, from -100 to 100."""
    return f"{max(-100, min(100, round(100 * delta / largest)))}" if largest else "0"
