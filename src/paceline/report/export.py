"""Writes report.md and a report.html that holds everything it shows."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup

from paceline.report.by_recipe import of_recipes
from paceline.report.collect import StudyFacts
from paceline.report.conclusions import conclusions
from paceline.report.curves import curves
from paceline.report.evaluated import code_rows, forgetting_rows, mtbench_rows, pair_rows
from paceline.report.format import clock, number
from paceline.report.plots import forest, heats, trade_off
from paceline.report.published import reasons
from paceline.report.recipes import (
    data_rows,
    evaluation_lines,
    folded_findings,
    published_table,
    recipe_table,
)
from paceline.runs.files import json_text, write_whole


def write_report(study: StudyFacts, folder: Path, price: float | None = None) -> tuple[Path, Path]:
    """Writes both files into `folder` and returns their paths; `price` is what an hour of training costs."""
    content = page_content(study, price)
    markdown, page = folder / "report.md", folder / "report.html"
    write_whole(markdown, markdown_environment().get_template("report.md.jinja").render(content))
    html = html_environment().get_template("report.html.jinja")
    write_whole(page, html.render(content, **_embedded(study)))
    return markdown, page


def page_content(study: StudyFacts, price: float | None = None) -> dict[str, object]:
    """What the report's templates show, beside what the page carries."""
    graded, comparison, published = mtbench_rows(study), study.comparison, published_table(study.published)
    shaded = heats(study)
    return {
        "study": study,
        "comparison": comparison,
        "conclusions": conclusions(study),
        "published": published,
        "published_names": [
            "run",
            *(f"{name}, {unit}" if unit else name for name, unit in published.units.items()),
        ],
        "not_comparable": reasons(study.published),
        "price": price,
        "task_names": sorted({task for tasks in study.tasks.values() for task in tasks}),
        "tasks": shaded.get("tasks"),
        "categories": shaded.get("mtbench-categories"),
        "updates": shaded.get("adapter-updates"),
        "forest": forest(comparison) if comparison else None,
        "seed_losses": {row.name: row.by_seed for row in comparison.rows} if comparison else {},
        "curve_recipes": [recipe.name + recipe.seeds_shown for recipe in of_recipes(study)],
        "answering": list(dict.fromkeys(recipe for sample in study.samples for recipe in sample.after)),
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
        "seconds": sum(run.status.seconds for run in study.runs),
        "tokens": sum(run.status.tokens for run in study.runs),
    }


def html_environment(*others: BaseLoader) -> Environment:
    """Templates for pages, all text in them escaped; those of `others` come first."""
    environment = _environment(is_html=True)
    environment.loader = ChoiceLoader([*others, PackageLoader("paceline.report")])
    return environment


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
    return {
        "data": plot_data(study),
        "plotly": Markup(get_plotlyjs().replace("</script", "<\\/script")),
        "style": Markup(plain.get_template("report.css").render()),
        "script": Markup(plain.get_template("report.js").render()),
    }


def plot_data(study: StudyFacts) -> Markup:
    """What the script draws, as JSON that can stand in a page."""
    data = {
        "recipes": [vars(own) for own in curves(of_recipes(study))],
        "trade": [vars(one) for one in trade_off(study.comparison)] if study.comparison else [],
    }
    return Markup(json_text(data).replace("<", "\\u003c"))


def _cell(value: object) -> str:
    """A value inside a Markdown table or sentence: no markup of its own, one line."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


def _fence(text: str) -> str:
    """Text as a fenced block that nothing inside can close."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}text\n{text}\n{marks}"
