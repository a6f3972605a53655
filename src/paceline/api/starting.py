"""A first study from a data set alone: looks at the rows, and writes a study file for them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paceline.config.base_names import is_hub_id
from paceline.config.data import Data
from paceline.config.names import check_name
from paceline.config.starter import DataFacts, starter_study
from paceline.config.yaml_text import in_line
from paceline.data.bad_rows import refuse_too_many
from paceline.data.chat import Chat, load_chat
from paceline.data.examine import Examined, examine, with_suggested_columns
from paceline.data.sources import is_on_hub
from paceline.errors import ConfigError, DataError, PacelineError

# Enough to see what rows are, and how long.
_LOOKED_AT = 2_000
_LENGTHS = (256, 512, 1024, 2048)
# Tokens that three recipes of three seeds see twice on two cores within five minutes, and bounds on the rows.
_TOKENS_TO_TRY, _FEWEST, _MOST = 90_000, 100, 400


@dataclass(frozen=True)
class Look:
    """What was seen of a data set, as it will be read, and what is to be said about it."""

    data: Data
    examined: Examined
    facts: DataFacts
    notes: tuple[str, ...]


def look_at(data: Data, base: str) -> Look:
    """Looks at a data set's rows as a base's tokenizer and template will have them.

    Columns under names that no format knows are mapped by what they seem to be, and that is said. Of a hub
    data set the first 2,000 rows are streamed.

    Args:
        base: where its tokenizer cannot be had here, that of the embedded base counts.

    Raises:
        DataError: no such data, no known format, or more bad rows than the data allows.
        ServiceError: the hub cannot be reached.
    """
    on_hub = is_on_hub(data.parts()[0])
    sampled = data.model_copy(update={"stream": True, "n": _LOOKED_AT}) if on_hub else data
    mapped = with_suggested_columns(sampled)
    notes = []
    if mapped.columns != data.columns:
        notes = [f"columns are taken for what their names say: {in_line(mapped.columns)}"]
    chat, counted_by, note = chat_or_embedded(base, data.chat_template)
    (seen,) = examine(mapped, chat, _LOOKED_AT)
    refuse_too_many(data.source, seen.bad, seen.looked_at, data.max_bad_rows)
    if not len(seen.lengths):
        raise DataError(f"data {data.source!r}: no row can be learned from")
    if seen.bad:
        first = seen.bad[0]
        notes += [f"{len(seen.bad):,} bad rows will be left out; the first: {first.where}: {first.reason}"]
    p50, p95 = (int(np.percentile(seen.lengths, share)) for share in (50, 95))
    facts = DataFacts(
        rows=None if on_hub else seen.rows,
        format=seen.format,
        p50=p50,
        p95=p95,
        longest=int(seen.lengths.max()),
        fits={length: float((seen.lengths <= length).mean()) for length in _LENGTHS},
        counted_by=counted_by,
    )
    kept = data.model_copy(update={"columns": mapped.columns})
    return Look(kept, seen, facts, (*notes, *([note] if note else [])))


def enough_to_try(look: Look, n: int | None) -> tuple[Look, int]:
    """The look with so many rows to train on, and their number; None: what is trained on in minutes."""
    if n is None:
        n = min(_MOST, max(_FEWEST, int(_TOKENS_TO_TRY / look.examined.lengths.mean())))
    n = n if look.facts.rows is None else min(n, look.facts.rows)
    update = {"n": n, "stream": look.facts.rows is None}
    return replace(look, data=look.data.model_copy(update=update)), n


def write_first_study(path: Path, look: Look, base: str, goal: str, seeds: int, name: str) -> None:
    """Writes a commented study file: three recipes for a goal, each trained with several seeds.

    Raises:
        ConfigError: it cannot be written.
    """
    text = starter_study(name, base, look.data, look.facts, goal, seeds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def chat_or_embedded(base: str, template: str | None = None) -> tuple[Chat, str, str | None]:
    """A base's tokenizer; where it cannot be had, the embedded one's, its name and a line that says so."""
    try:
        return load_chat(base, template), base, None
    except PacelineError as error:
        if not is_hub_id(base) or base == "embedded" or Path(base).exists():
            raise
        note = f"the embedded base's tokenizer and chat template stand in for {base}'s: {error}"
        return load_chat("embedded", template), "embedded", note


def name_of(source: str) -> str:
    """A study's name made from its data's: what is left of a path or a hub id."""
    stem = Path(source.rpartition(":")[2]).name.partition(".")[0]
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-._") or "data"
    return check_name(name[:60], "study name")
