"""Names of runs and studies: each is the name of a directory, and nothing else."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from paceline.errors import ConfigError

# Bytes; a file system takes 255, and a file on its way to its name adds a few.
LONGEST = 200
# What stands beside the runs in a study's folder, and what the bare base is called beside them.
TAKEN = ("study.yaml", "eval", "base", "report.md", "report.html")


def check_name(name: Any, what: str) -> str:
    """A name, if it is one plain part of a path.

    Args:
        what: what is named, as the beginning of a sentence.

    Raises:
        ConfigError: a path, a hidden, reserved, empty or over-long name, a sign that means something else in
            a path, a table or an address.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{what} must be a text, not {name!r}; put it in quotes")
    said = f"{what} {name[:60]!r}"
    if not name:
        raise ConfigError(f"{what} is empty; it names a directory")
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ConfigError(f"{said} is a path; it names one directory, and --runs says where that is")
    if len(name.encode(errors="replace")) > LONGEST:
        raise ConfigError(f"{said}… is too long: a directory's name has at most {LONGEST} bytes here")
    if not re.fullmatch(r"[\w(](?:[\w .,+=@()\-]*[\w.,+=@()\-])?", name):
        raise ConfigError(
            f"{said} cannot name a directory: letters, digits, spaces inside, and any of . , _ + - = @ ( ); "
            "a letter or a digit is first"
        )
    return name


def check_run_name(name: Any) -> str:
    """The name of a run; see `check_name`.

    Raises:
        ConfigError: also for a name that something else has in a study's folder or in its tables.
    """
    if isinstance(name, str) and name.lower() in TAKEN:
        raise ConfigError(f"run name {name!r} is taken by something of Paceline's own; choose another")
    return check_name(name, "run name")


RunName = Annotated[str, BeforeValidator(check_run_name)]
StudyName = Annotated[str, BeforeValidator(lambda name: check_name(name, "study name"))]
