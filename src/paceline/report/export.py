"""Writes report.md and a report.html that holds everything it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from paceline.report.collect import StudyFacts
from paceline.report.conclusions import conclusions, half_width
from paceline.report.curves import curves
from paceline.report.format import clock
from paceline.report.published import against_published
from paceline.runs.files import write_whole


def write_report(study: StudyFacts, folder: Path, price: float | None = None) -> tuple[Path, Path]:
    """Writes both files into `folder` and returns their paths; `price` is what an hour of training costs."""
    content = {
        "study": study, "comparison": study.comparison, "conclusions": conclusions(study), "figures": against_published(study), "price": price,
        "rows": {row.name: row for row in study.comparison.rows} if study.comparison else {},
        "task_names": sorted({task for tasks in study.tasks.values() for task in tasks}),
        "mtbench": next((run.mtbench for run in study.runs if run.mtbench), None), "mtbench_rows": _mtbench_rows(study), "code_rows": _code_rows(study),
        "hours": sum(run.status.seconds for run in study.runs) / 3600,
    }  # fmt: skip
    markdown, page = folder / "report.md", folder / "report.html"
    write_whole(markdown, _environment(False).get_template("report.md.jinja").render(content))
    write_whole(
        page, _environment(True).get_template("report.html.jinja").render(content, **_embedded(study))
    )
    return markdown, page


def _environment(is_html: bool) -> Environment:
    """Everything that a model or a data set wrote is escaped: by autoescape in HTML, by `cell` and `fence` in Markdown."""
    made = Environment(
        loader=PackageLoader("paceline.report"), autoescape=is_html, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "cell": _cell,
        "fence": _fence,
        "clock": clock,
        "number": _number,
        "half_width": half_width,
        "shade": _shade,
    }
    return made


def markdown_environment() -> Environment:
    """Templates for Markdown, with the filters that escape it."""
    return _environment(False)


def _mtbench_rows(study: StudyFacts) -> list[tuple[str, dict[str, Any]]]:
    """(speaker, its scores): the base once, then every run that was asked."""
    base = [
        ("base", run.mtbench["runs"]["base"])
        for run in study.runs
        if run.mtbench and "base" in run.mtbench["runs"]
    ]
    return base[:1] + [
        (run.name, run.mtbench["runs"][run.name])
        for run in study.runs
        if run.mtbench and run.name in run.mtbench["runs"]
    ]


def _code_rows(study: StudyFacts) -> list[tuple[str, str, int, dict[str, Any]]]:
    """(speaker, suite, tasks, its rates): the base once a suite, then every run."""
    rows: dict[tuple[str, str], tuple[str, str, int, dict[str, Any]]] = {}
    for run in study.runs:
        for suite, result in run.code.items():
            for name, rates in result["runs"].items():
                rows.setdefault((suite, name), (name, suite, result["tasks"], rates))
    return list(rows.values())


def _embedded(study: StudyFacts) -> dict[str, Any]:
    from plotly.offline import get_plotlyjs

    loader = PackageLoader("paceline.report")
    plain = Environment(loader=loader, autoescape=False)  # our own style and script hold no text of others
    bars = [
        {"run": name, "scores": {category: part["value"] for category, part in scores["categories"].items()}}
        for name, scores in _mtbench_rows(study)
    ]
    data = {"runs": curves(study.runs), "mtbench": bars}
    return {
        "data": Markup(json.dumps(data).replace("<", "\\u003c")), "plotly": Markup(get_plotlyjs().replace("</script", "<\\/script")),
        "style": Markup(plain.get_template("report.css").render()), "script": Markup(plain.get_template("report.js").render()),
    }  # fmt: skip


def _cell(value: Any) -> str:
    """A value inside a Markdown table or sentence: no markup of its own, one line."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


def _fence(text: str) -> str:
    """Text as a fenced block that nothing inside can close."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}text\n{text}\n{marks}"


def _number(value: Any) -> str:
    """A figure as a person writes it: four places for a float, thousands apart for a count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return (
        f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.4f}".rstrip("0").rstrip(".")
    )


def _shade(delta: float, largest: float) -> str:
    """How far a cell of the heat map leans to better (negative) or worse, from -100 to 100."""
    return f"{max(-100, min(100, round(100 * delta / largest)))}" if largest else "0"
