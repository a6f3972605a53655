"""HTML for notebooks: all text is escaped, nothing is fetched and nothing runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """A table; numbers are set to the right, and a cell that is no `Markup` is escaped."""
    head = join(Markup("<th>{}</th>").format(heading) for heading in headings)
    body = join(Markup("<tr>{}</tr>").format(join(map(_cell, row))) for row in rows)
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)


def paragraph(text: object) -> Markup:
    """A line of text, escaped; nothing for an empty one."""
    return Markup("<p>{}</p>").format(text) if text else Markup("")


def heading(text: object) -> Markup:
    """A small heading, escaped."""
    return Markup("<h4>{}</h4>").format(text)


def join(parts: Iterable[object]) -> Markup:
    """The parts one after another, escaped where they are no `Markup`."""
    return Markup("").join(escape(part) for part in parts)


def _cell(value: object) -> Markup:
    side = "right" if isinstance(value, int | float) else "left"
    shown = f"{value:,}" if isinstance(value, int) else value
    return Markup('<td style="text-align: {}">{}</td>').format(side, shown)
