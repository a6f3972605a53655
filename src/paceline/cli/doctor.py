"""Before training: check. Afterwards: doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli.options import Json, Runs, Seeds

if TYPE_CHECKING:
    from paceline.api.findings import Findings


def check(
    file: Annotated[Path, typer.Argument(help="Study or recipe file (YAML).")],
    runs: Runs = Path("runs"),
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Write NAME.fixed.yaml with the proposed changes, and show the difference."
        ),
    ] = False,
    seeds: Seeds = None,
    as_json: Json = False,
) -> None:
    """Say what will go wrong before anything is spent. Exit 1 if there is an error."""
    from paceline.api import planning
    from paceline.api.loading import as_study
    from paceline.cli.progress import TerminalProgress
    from paceline.config.replicates import parse_seeds
    from paceline.doctor.fix import write_fixed

    study = as_study(file, parse_seeds(seeds))
    findings = planning.check(study, runs / study.name, [TerminalProgress()])
    _print(findings, as_json, "nothing found that would go wrong")
    if fix:
        target, difference = write_fixed(file, findings)
        print(difference or "nothing to change", end="")
        print(f"written: {target}")
    if findings.errors:
        raise typer.Exit(1)


def doctor(
    path: Annotated[
        Path | None,
        typer.Argument(help="Run or study directory, trainer_state.json, its directory, or a console log."),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(help="Say what a rule means, how it is computed, what to try, where it comes from."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say why a run went as it did. Reads any Hugging Face log as well."""
    from paceline.errors import ConfigError

    if explain is not None:
        print(_explain(explain))
        return
    if path is None:
        raise ConfigError("give a path to look at, or --explain RULE")
    from paceline.api.inspection import diagnose

    _print(diagnose(path), as_json, "nothing found that went wrong")


def _explain(rule: str) -> str:
    from paceline.doctor.explain import explain

    return explain(rule)


def _print(findings: "Findings", as_json: bool, nothing: str) -> None:
    from paceline.cli.tables import output, print_findings
    from paceline.runs.files import json_text

    if as_json:
        print(json_text(findings.to_dict(), indent=1))
    elif findings:
        print_findings(findings, output())
    else:
        print(nothing)
