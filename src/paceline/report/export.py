"""Writes report.md and a report.html that holds everything it shows."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from paceline.report.collect import StudyFacts
from paceline.report.conclusions import conclusions
from paceline.report.curves import curves
from paceline.report.evaluated import code_rows, forgetting_rows, mtbench_rows, pair_rows
from paceline.report.format import clock, number
from paceline.report.published import reasons
from paceline.report.recipes import (
    data_rows,
    evaluation_lines,
    folded_findings,
    published_table,
    recipe_table,
)
from paceline.runs.files import write_whole


def write_report(study: StudyFacts, folder: Path, price: float | None = None) -> tuple[Path, Path]:
    """Writes both files into `folder` and returns their paths; `price` is what an hour of training costs."""
    graded = mtbench_rows(study)
    content = {
        "study": study,
        "comparison": study.comparison,
        "conclusions": conclusions(study),
        "published": published_table(study.published),
        "not_comparable": reasons(study.published),
        "price": price,
        "task_names": sorted({task for tasks in study.tasks.values() for task in tasks}),
        "mtbench": next((run.mtbench for run in study.runs if run.mtbench), None),
        "mtbench_rows": graded,
        "pair_rows": pair_rows(study),
        "is_raw": any(row.raw is not None for row in graded),
        "code_rows": code_rows(study),
        "left_out": _left_out(study),
        "forgetting_rows": forgetting_rows(study),
        "data_rows": data_rows(study),
        "recipes": recipe_table(study),
        "evaluation_lines": evaluation_lines(study),
        "findings": folded_findings(study.findings),
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
        "number": number,
        "shade": _shade,
    }
    return environment


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
    bars = [{"run": row.recipe, "scores": row.categories} for row in mtbench_rows(study)]
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


def _shade(delta: float, largest: float) -> str:
    """How far a cell of the heat map leans to better (negative) or worse, from -100 to 100."""
    return f"{max(-100, min(100, round(100 * delta / largest)))}" if largest else "0"
