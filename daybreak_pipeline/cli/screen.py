"""The terminal as ``rich`` shows it: what is printed is text, never markup, and cannot steer the terminal.

Colours are given with ``styled``, so that no text is ever looked at for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from daybreak_pipeline.wording import shown, shown_lines


class Screen(Console):
    """A console that takes every string for one line of text; wide where nobody's window sets a width."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, **options)
        if not self.is_terminal:
            self.width = 200

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as it is printed; see rich."""
        return super().render_str(shown(text, longest=None), **(options | {"markup": False, "emoji": False}))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is printed; see rich. Control characters come from rich alone, never from the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown_lines(segment.text))

    def on_broken_pipe(self) -> None:
        """Raise what ended the writing, where rich would end the program."""
        raise BrokenPipeError


def styled(text: object, style: str) -> Text:
    """Return text in a colour, or dim."""
    return Text(shown(text), style)


def line(*parts: object) -> Text:
    """Return parts as one line; some may be styled."""
    return Text.assemble(*(part if isinstance(part, Text) else shown(part) for part in parts))
