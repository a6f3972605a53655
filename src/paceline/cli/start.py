"""From a data set to a first study: `init` writes one, `try` trains one and shows its report."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paceline.cli.asking import ask, known_goal
from paceline.cli.options import Json, Runs, log
from paceline.config.data import Data
from paceline.config.load import make
from paceline.config.recipe import DEFAULT_BASE
from paceline.config.replicates import MOST_SEEDS
from paceline.config.starter import GOALS
from paceline.errors import ConfigError, PacelineError

if TYPE_CHECKING:
    from paceline.api.starting import Look

Columns = Annotated[str | None, typer.Option(help="Columns under other names: '{prompt: q, completion: a}'.")]
SeedCount = Annotated[
    int, typer.Option("--seeds", min=1, max=MOST_SEEDS, help="How often every recipe is trained.")
]


def init(
    out: Annotated[Path, typer.Option("-o", "--out", help="Study file to write.")] = Path("study.yaml"),
    base: Annotated[
        str | None, typer.Option(help=f"Base model: hub id, folder, or embedded.  [default: {DEFAULT_BASE}]")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Hub data set id, file or folder.")] = None,
    goal: Annotated[
        str | None, typer.Option(help="What to find out.  [default: quality]", metavar=f"[{'|'.join(GOALS)}]")
    ] = None,
    columns: Columns = None,
    seeds: SeedCount = 3,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run `paceline check` on it.")] = True,
    rehearse: Annotated[
        bool, typer.Option("--rehearse/--no-rehearse", help="Run `paceline rehearse` on it: minutes.")
    ] = True,
    runs: Runs = Path("runs"),
) -> None:
    """Write a first study for your data: a commented file of three recipes, checked and rehearsed.

    Asks on a terminal for what no flag says.
    """
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already; name another with --out, or write over it with --force")
    if _on_terminal():
        data, base, goal = ask(data, base, goal)
    if not data:
        raise ConfigError("init: no data is named; give a file, a folder or a hub data set id as --data")
    base, goal = base or DEFAULT_BASE, known_goal(goal or "quality")
    from paceline.api.starting import look_at, name_of, write_first_study

    look = look_at(_data(data, columns), base)
    _say(look)
    write_first_study(out, look, base, goal, seeds, name_of(data))
    print(f"written: {out}")
    errors = check and _check(out, runs, base if look.facts.counted_by != base else None)
    if rehearse:
        from paceline.cli.study import rehearse as rehearsal

        log("rehearsing on the embedded base and sample")
        rehearsal(out, runs)
    if errors:
        raise typer.Exit(1)
    print(f"train it: paceline study run {shlex.quote(str(out))}")


def try_(
    data: Annotated[str, typer.Argument(help="Hub data set id, file or folder.")],
    base: Annotated[str, typer.Option(help="Base model: hub id or folder.")] = "embedded",
    n: Annotated[
        int | None,
        typer.Option("-n", min=8, help="Rows, sampled; default: what two cores train on in a few minutes."),
    ] = None,
    columns: Columns = None,
    seeds: SeedCount = 3,
    runs: Runs = Path("runs"),
    as_json: Json = False,
) -> None:
    """Train three recipes on a data set, compare them and open the report: minutes, on the embedded base.

    The same command goes on after a stop. The study's file stays, to be changed and trained again.
    """
    from paceline.api.inspection import write_report
    from paceline.api.starting import enough_to_try, look_at, name_of, write_first_study
    from paceline.cli.run import train_and_compare
    from paceline.config.load import load_study
    from paceline.config.replicates import Seeds

    look = look_at(_data(data, columns), base)
    _say(look)
    look, n = enough_to_try(look, n)
    name = f"try-{name_of(data)}"
    file, folder = runs / f"{name}.yaml", runs / name
    if not file.exists():  # one that a person has changed stays
        write_first_study(file, look, base, "quality", seeds, name)
    study = load_study(file, seeds=Seeds(seeds))
    there = study.runs[0].recipe
    if (there.base, there.data.source, there.data.n) != (base, data, n):
        raise ConfigError(
            f"{file} is a study of {there.data.n} rows of {there.data.source} over {there.base}; train that "
            "one with `paceline study run`, or choose another place with --runs"
        )
    log(f"the study: {file}")
    train_and_compare(study, folder, as_json, None)
    page = write_report(folder).html
    log(f"the report: {page}")
    _open(page)


def _on_terminal() -> bool:
    import sys

    return sys.stdin.isatty() and sys.stdout.isatty()


def _data(source: str, columns: str | None, n: int | None = None) -> Data:
    from paceline.config.yaml_text import parse_yaml

    fields = {"source": source, "n": n}
    return make(Data, {**fields, "columns": parse_yaml(columns)} if columns else fields, "data")


def _say(look: "Look") -> None:
    """What was seen of the data."""
    facts = look.facts
    rows = f"{look.examined.looked_at:,} rows looked at" if facts.rows is None else f"{facts.rows:,} rows"
    log(
        f"data: {rows}, read as {facts.format}; an example has {facts.p50:,} tokens (half), {facts.p95:,} "
        f"(95%), {facts.longest:,} (longest)"
    )
    if look.examined.unused:
        log(f"data: columns not used: {', '.join(look.examined.unused)}")
    for note in look.notes:
        log(f"data: {note}")


def _check(file: Path, runs: Path, missing: str | None) -> bool:
    """Whether the check found an error; a base that is not here (`missing`) is said, and is none."""
    from paceline.api import planning
    from paceline.api.loading import as_study
    from paceline.cli.tables import output, print_findings

    later = f"`paceline check {shlex.quote(str(file))}` does it where the base is"
    if missing:  # the hub was asked already, which takes half a minute where it is out of reach
        log(f"not checked: {missing} is not here; {later}")
        return False
    study = as_study(file)
    try:
        findings = planning.check(study, runs / study.name)
    except PacelineError as error:
        log(f"not checked: {error}; {later}")
        return False
    print_findings(findings, output())
    return bool(findings.errors)


def _open(page: Path) -> None:
    """Opens a page, for a person at a terminal who has a browser with windows."""
    import os
    import sys
    import webbrowser

    has_windows = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if sys.stdout.isatty() and has_windows:
        webbrowser.open(page.resolve().as_uri())
