"""Before training: check. Afterwards: doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli.train import Json, Runs

if TYPE_CHECKING:
    from paceline.config.study import Study
    from paceline.doctor.finding import Finding


def check(
    file: Annotated[Path, typer.Argument(help="Study or recipe file (YAML).")],
    runs: Runs = Path("runs"),
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Write NAME.fixed.yaml with the proposed changes, and show the difference."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what will go wrong before anything is spent. Exit 1 if there is an error."""
    from rich.console import Console

    from paceline.doctor.check import check_study
    from paceline.doctor.fix import write_fixed
    from paceline.evaluate.study import check_evaluations

    console = Console(stderr=True)
    study = _load(file)
    check_evaluations([run.recipe for run in study.runs])
    found = check_study(study, runs / study.name, lambda line: console.print(line, style="dim"))
    _tell(found, as_json, "nothing found that would go wrong")
    if fix:
        target, difference = write_fixed(file, found)
        print(difference or "nothing to change", end="")
        print(f"written: {target}")
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(1)


def _load(file: Path) -> "Study":
    """A study, or a recipe as a study of one run."""
    from paceline.config.load import load_recipe, load_study, read_yaml
    from paceline.config.study import Run, Study

    if "runs" in read_yaml(file):
        return load_study(file)
    return Study(name=file.stem, runs=[Run(name=file.stem, recipe=load_recipe(file))])


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
    from paceline.doctor.finding import explain as explained
    from paceline.doctor.finding import in_order
    from paceline.doctor.log import read_log
    from paceline.doctor.log_rules import log_rules
    from paceline.doctor.preflight_rules import preflight_rules
    from paceline.errors import ConfigError

    if explain is not None:
        print(explained(explain, [*preflight_rules, *log_rules]))
        return
    if path is None:
        raise ConfigError("give a path to look at, or --explain RULE")
    found = in_order(finding for name, log in read_log(path) for finding in log_rules.findings(log, name))
    _tell(found, as_json, "nothing found that went wrong")


def _tell(found: "list[Finding]", as_json: bool, nothing: str) -> None:
    import json

    from paceline.cli.tables import output, print_findings

    if as_json:
        print(json.dumps([finding.as_dict() for finding in found], indent=1))
    elif found:
        print_findings(found, output())
    else:
        print(nothing)
