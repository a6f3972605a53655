"""Afterwards: why runs went as they did, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from paceline.api.findings import Findings
from paceline.api.html import heading, join, paragraph
from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.read import read_log
from paceline.report import export
from paceline.report.collect import collect_study
from paceline.report.conclusions import conclusions


def diagnose(path: str | Path) -> Findings:
    """Says why runs went as they did, from their logs alone.

    Args:
        path: a run or study directory, transformers' trainer_state.json or its directory, or a console log.

    Returns:
        What was found, worst first; nothing where all went well.

    Raises:
        RunError: nothing there that is a log, or one that cannot be read, with where.
    """
    logs = read_log(Path(path))
    return Findings(finding for name, log in logs for finding in log_rules.findings(log, name))


@dataclass(frozen=True)
class Report:
    """A study's report: its two files, what it concludes, most important first, and figures for papers."""

    markdown: Path
    html: Path
    conclusions: list[str]
    figures: Sequence[Path] = ()

    def _repr_html_(self) -> Markup:
        where = paragraph(f"written: {self.markdown}, {self.html}")
        return join([heading("Conclusions"), *map(paragraph, self.conclusions), where])


def write_report(
    study: str | Path,
    folder: str | Path | None = None,
    price: float | None = None,
    noise: str | Path | None = None,
    figures: str | Path | None = None,
) -> Report:
    """Writes report.md and a self-contained report.html.

    Args:
        study: a study's folder, or a run directory.
        folder: where to write; None: into the study's folder.
        price: what an hour of training costs, in any currency; None: costs are left out.
        noise: the folder of an earlier study, as `compare` takes it.
        figures: a folder for plots (PNG, SVG) and tables (CSV, LaTeX) for papers; needs the extra `figures`.

    Raises:
        RunError: neither a study's folder nor a run directory; a `noise` study that `compare` refuses.
        MissingExtra: `figures` without matplotlib; nothing is written.
    """
    facts = collect_study(Path(study), None if noise is None else Path(noise))
    target = Path(folder or study)
    target.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    if figures is not None:
        from paceline.report.figures import write_figures

        drawn = write_figures(facts, Path(figures))
    markdown, html = export.write_report(facts, target, price)
    return Report(markdown, html, conclusions(facts), drawn)
