"""The terminal, for text of others: nothing in it is markup, an emoji's name or a control sequence.

Everything that the program prints goes through a `PlainConsole`, and `Text` is made by `plain_text`
(`tests/harness/report/test_visible.py` holds the code to it).
"""

import contextlib
import os
import sys
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from encodeonce.harness.report.layout import wrapped
from encodeonce.harness.report.visible import visible

_ENDLESS = 10_000
"""Characters of a line in a pipe, for what has to have a width."""


class UnprintableError(OSError):
    """What the program prints cannot be written where stdout goes to."""


class PlainConsole(Console):
    """A console that shows strings as they are, control characters as escapes.

    Style is given by ``style`` or by `plain_text`, never by what stands in a string. Words longer
    than a line (paths, ids, URLs) are never broken; pipes and files get lines of any length.
    """

    def __init__(
        self, *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None
    ) -> None:
        """Open stdout, stderr or ``file``; the width is the terminal's unless it is given."""
        columns = os.environ.get("COLUMNS", "")
        if width is None and columns.isdecimal():
            width = int(columns) or None  # 0 is what some programs set where there is no terminal
        super().__init__(
            stderr=stderr, file=file, width=width, markup=False, emoji=False, highlight=False
        )
        self._has_width = width is not None
        if self.room is None:
            self.width = _ENDLESS  # rich would take 80

    @property
    def room(self) -> int | None:
        """Characters of a line; None in pipes and files, whose lines have no end."""
        return (self.width or None) if self._has_width or self.is_terminal else None

    def print(self, *objects: Any, **options: Any) -> None:
        """Print to stdout, stderr or the file; see `rich.console.Console.print`.

        What stderr does not take is lost: it only tells how the work goes on.

        Raises:
            UnprintableError: stdout does not take it.
        """
        if all(isinstance(one, str) for one in objects) and not options.get("soft_wrap"):
            objects = tuple("\n".join(wrapped(visible(one), self.room)) for one in objects)
            options["soft_wrap"] = True
        try:
            super().print(*objects, **options)
        except OSError as error:
            self.quiet = True
            if self.stderr or self.file is not sys.stdout:
                return
            give_up_stdout()
            raise UnprintableError(
                f"stdout cannot be written: {error.strerror or error}"
            ) from error

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text to print."""
        return super().render_str(visible(text), **options)


def plain_text(text: str, style: str = "") -> Text:
    """Return text in a style; what it holds is neither markup nor a control sequence."""
    return Text(visible(text), style=style)


def give_up_stdout() -> None:
    """Send what stdout still holds to nowhere, if it cannot be written.

    Python would try once more at the end, with a message and an exit status of its own.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
