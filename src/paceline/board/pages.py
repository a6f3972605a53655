"""The board's templates and files, beside those of the report."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader

from paceline.report.export import html_environment

_TYPES = {"css": "text/css", "js": "text/javascript"}


@cache
def templates() -> Environment:
    """All text that a template is given is escaped."""
    return html_environment(PackageLoader("paceline.board"))


@cache
def asset(name: str) -> tuple[str, str]:
    """(content, media type) of a style or script.

    Raises:
        KeyError: there is none of this name.
    """
    if name == "plotly.js":
        from plotly.offline import get_plotlyjs

        return get_plotlyjs(), _TYPES["js"]
    if name not in ("report.css", "report.js", "board.css", "board.js"):
        raise KeyError(name)
    environment = templates()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0], _TYPES[name.rpartition(".")[2]]
