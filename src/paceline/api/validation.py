"""Whether data can be read as conversations, row by row, and whether a study's file makes sense."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paceline.api.loading import as_study
from paceline.api.starting import chat_or_embedded
from paceline.config.data import Data
from paceline.data.examine import Examined, examine
from paceline.runs.files import JsonObject


@dataclass(frozen=True)
class Validation:
    """What was found in each source, and what is to be said about how it was looked at."""

    sources: tuple[Examined, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether every row can be used."""
        return not any(found.bad for found in self.sources)

    def to_dict(self) -> JsonObject:
        """Rows, good ones, and each bad row with its place, kind and reason; JSON-ready."""
        sources = [
            {
                "source": found.source,
                "format": found.format,
                "rows": found.rows,
                "good": found.good,
                "columns_not_used": list(found.unused),
                "bad": [row._asdict() for row in found.bad],
            }
            for found in self.sources
        ]
        return {"valid": self.is_valid, "sources": sources, "notes": list(self.notes)}


def validate(source: Data | str | Path, base: str = "embedded") -> Validation:
    """Reads every row of a data set, or of all data that a study or recipe file names, as training would.

    Args:
        source: a data set, or a file of a study or recipe (.yaml).
        base: whose chat template renders a data set's rows; a study's rows are rendered by its own bases.
            Where a base cannot be had here, the embedded base's stands in for it.

    Raises:
        PacelineError: a study that makes no sense; data that is not there or of no known format.
    """
    if not isinstance(source, Data) and Path(source).suffix in (".yaml", ".yml"):
        study = as_study(source)
        asked = {(run.recipe.base, run.recipe.data.model_dump_json()): run.recipe.data for run in study.runs}
        wanted = [(base, data) for (base, _), data in asked.items()]
    else:
        wanted = [(base, source if isinstance(source, Data) else Data(source=str(source)))]
    found: dict[tuple[str, str, str], Examined] = {}
    notes: dict[str, None] = {}
    for own_base, data in wanted:
        chat, _, note = chat_or_embedded(own_base, data.chat_template)
        notes |= {note: None} if note else {}
        for examined in examine(data, chat):
            found[own_base, examined.source, str(data.columns)] = examined
    return Validation(tuple(found.values()), tuple(notes))
