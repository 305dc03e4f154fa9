"""The terminal as ``rich`` shows it: what is printed is text, never markup, and cannot steer the terminal.

Colours are applied with ``styled``; text is never searched for colour markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from daybreak_pipeline.wording import shown, shown_lines


class Screen(Console):
    """A console that treats every string as one line of text; wide where no terminal sets a width."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)
        if not self.is_terminal:
            self.width = 200

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as it is printed; see rich."""
        return super().render_str(shown(text, longest=None), **(options | {"markup": False, "emoji": False}))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is printed; see rich. Whatever the text contains, only rich itself steers the terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown_lines(segment.text))

    def on_broken_pipe(self) -> None:
        """Raise the error, where rich would end the program."""
        raise BrokenPipeError


def styled(text: object, style: str) -> Text:
    """Return text in a colour, or dim."""
    return Text(shown(text), style)


def line(*parts: object) -> Text:
    """Return parts as one line; some may be styled."""
    return Text.assemble(*(part if isinstance(part, Text) else shown(part) for part in parts))
