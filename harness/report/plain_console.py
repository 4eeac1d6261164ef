"""The terminal, for text of others: nothing in it is markup, an emoji's name or a control sequence.

Everything that the program prints goes through a `PlainConsole`, and `Text` is made by `plain_text`
(`tests/harness/report/test_visible.py` holds the code to it).
"""

from typing import IO, Any

from rich.console import Console
from rich.text import Text

from encodeonce.harness.report.visible import visible


class PlainConsole(Console):
    """A console that shows strings as they are, control characters as escapes.

    Style is given by ``style`` or by `plain_text`, never by what stands in a string.
    """

    def __init__(
        self, *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None
    ) -> None:
        """Open stdout, stderr or ``file``; the width is the terminal's unless it is given."""
        super().__init__(
            stderr=stderr, file=file, width=width, markup=False, emoji=False, highlight=False
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text to print."""
        return super().render_str(visible(text), **options)


def plain_text(text: str, style: str = "") -> Text:
    """Return text in a style; what it holds is neither markup nor a control sequence."""
    return Text(visible(text), style=style)
