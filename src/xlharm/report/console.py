"""The console for everything that is printed: texts of others appear on it as text."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from xlharm.visible import visible


class Terminal(Console):
    """A console for which nothing in a text is markup, an emoji's name or a terminal's control sequence."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Write out controls that stand in texts; Rich's own have segments of their own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))
