"""The questions that `init` asks on a terminal; an answer that cannot be is asked for again."""

from pathlib import Path

import typer

from paceline.config.data import Data
from paceline.config.recipe import DEFAULT_BASE
from paceline.config.starter import GOALS
from paceline.errors import ConfigError, PacelineError, nearest


def ask(data: str | None, base: str | None, goal: str | None) -> tuple[str, str, str]:
    """Data, base and goal: each as it was given, or as it is answered.

    Raises:
        ConfigError: the answers ended (Ctrl-C, Ctrl-D) before all was answered.
    """
    try:
        data = data or typer.prompt("Data (a file, a folder or a hub data set id)", value_proc=_data)
        base = base or typer.prompt("Base model", default=DEFAULT_BASE, value_proc=_base)
        for name, of in GOALS.items() if not goal else ():
            print(f"  {name}: {of.objective}")
        goal = goal or typer.prompt("Goal", default="quality", value_proc=_goal)
    except typer.Abort as error:
        print()  # the question's line is open
        raise ConfigError(
            "init: not all is answered, so nothing is written; flags answer too: --data, --base, --goal"
        ) from error
    return data, base, goal


def known_goal(goal: str) -> str:
    """The goal.

    Raises:
        ConfigError: no such goal.
    """
    if goal not in GOALS:
        raise ConfigError(f"--goal {goal}: no such goal{nearest(goal, GOALS)} (known: {', '.join(GOALS)})")
    return goal


def _data(answer: str) -> str:
    from paceline.data.sources import check_source

    source = _unquoted(answer)
    try:
        check_source(Data(source=source).parts()[0])
    except PacelineError as error:
        raise typer.BadParameter(str(error)) from error
    return source


def _base(answer: str) -> str:
    from paceline.config.base_names import base_path

    name = _unquoted(answer)
    name = str(Path(name).expanduser()) if name.startswith("~") else name
    try:
        base_path(name)
    except PacelineError as error:
        raise typer.BadParameter(str(error)) from error
    return name


def _goal(answer: str) -> str:
    try:
        return known_goal(_unquoted(answer))
    except PacelineError as error:
        raise typer.BadParameter(str(error)) from error


def _unquoted(answer: str) -> str:
    """An answer as a shell would have taken it: no spaces around it, nor quotes."""
    answer = answer.strip()
    return answer[1:-1] if len(answer) > 1 and answer[0] == answer[-1] and answer[0] in "'\"" else answer
