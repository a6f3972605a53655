"""Implementations by name: Paceline's own, and those that installed packages bring as entry points."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from paceline.errors import EvaluationError, nearest

Kind = TypeVar("Kind")


class Registry(Generic[Kind]):
    """Finds implementations of one kind. A module is imported when something of it is asked for.

    A package adds one in its pyproject.toml:

        [project.entry-points."paceline.judges"]
        panel = "my_package.panel:PanelJudge"

    Args:
        group: the group of entry points.
        noun: what an implementation is, for messages.
        own: {name: module:object} of Paceline's own, which no other package can replace.
    """

    def __init__(self, group: str, noun: str, own: Mapping[str, str]) -> None:
        self.group = group
        self._noun = noun
        self._own = {name: EntryPoint(name=name, value=value, group=group) for name, value in own.items()}

    def names(self) -> list[str]:
        """All known names, Paceline's own first."""
        return list(self._entries())

    def get(self, name: str) -> Kind:
        """The implementation of that name.

        Raises:
            EvaluationError: there is none, or it cannot be imported.
        """
        entries = self._entries()
        if name not in entries:
            known = ", ".join(entries)
            raise EvaluationError(f"no {self._noun} {name!r}{nearest(name, entries)}; there are {known}")
        try:
            return cast(Kind, entries[name].load())
        except (ImportError, AttributeError) as error:
            if name in self._own:
                raise
            raise EvaluationError(
                f"the {self._noun} {name!r} ({entries[name].value}) cannot be imported: {error}"
            ) from error

    def _entries(self) -> dict[str, EntryPoint]:
        others = {entry.name: entry for entry in entry_points(group=self.group)}
        return self._own | {name: entry for name, entry in others.items() if name not in self._own}
