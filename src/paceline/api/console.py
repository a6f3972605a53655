"""A terminal that data cannot command: what rows, names and answers hold is shown, never obeyed."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from paceline.errors import visible


class SafeConsole(Console):
    """rich's console, with control characters of texts as escapes; its own colours and moves stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))
