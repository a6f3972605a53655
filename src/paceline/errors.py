"""The errors that are meant for a user's eyes.

    PacelineError
    ├── ConfigError       a recipe, study, preset, flag or argument
    ├── DataError         a source, its rows, their format, the split
    ├── ModelError        a base, its tokenizer, an adapter
    ├── RunError          a run directory, a log or a result that is missing, damaged or another's
    ├── TrainingError     training that cannot go on: memory, a failed parent
    ├── EvaluationError   questions, tasks, a judge, a sandbox
    ├── ServiceError      the hub, a cluster, a server
    └── MissingExtra      an optional package that is not installed

Each message is one line: what is wrong, where (file, row, field), and what to do. The command line prints it
and exits with 2; a caller of the Python functions catches the kind it can do something about.
"""

import difflib
import re
from collections.abc import Iterable

# What a terminal obeys, and what turns the direction of text around.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class PacelineError(Exception):
    """Base of all of them. Anything else that is raised is a bug of Paceline's.

    A caller catches the kinds that it can do something about:

        try:
            paceline.run_study(study, "runs")
        except paceline.DataError as error:
            print(f"mend the data first: {error}")
    """


class ConfigError(PacelineError):
    """A recipe, study, preset, flag or argument that makes no sense."""


class DataError(PacelineError):
    """Rows that cannot be found, read, sampled or split."""


class ModelError(PacelineError):
    """A base, a tokenizer or an adapter that cannot be loaded, or that do not belong together."""


class RunError(PacelineError):
    """A run directory, a log or a result that is missing, damaged, unfinished or another's."""


class TrainingError(PacelineError):
    """Training that cannot begin or go on."""


class EvaluationError(PacelineError):
    """An evaluation that cannot be done: its questions, tasks, judge or sandbox."""


class ServiceError(PacelineError):
    """A hub, cluster or server that refuses or cannot be reached."""


class MissingExtra(PacelineError):  # noqa: N818 - names what is missing, as KeyError does
    """A package that is not installed, with the command that installs it.

    Args:
        what: what needs the package, as the beginning of a sentence.
        package: what is missing, in words.
        extra: the extra of Paceline's that brings it.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}; install it with `pip install 'paceline[{extra}]'`")


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean X?` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


def visible(text: str) -> str:
    """A text for a terminal: control characters and turns of direction as escapes, but lines and tabs."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)
