"""A progress bar on the terminal while a command works; none in pipes and log files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from encodeonce.harness.report.plain_console import PlainConsole

OnProgress = Callable[[int, int], None]
"""Called with the amount done and the total."""


@contextmanager
def progress_bar(
    doing: str, in_words: Callable[[int], str] = str, at_first: str = ""
) -> Iterator[OnProgress]:
    """Show a bar, which disappears at the end; yield the function that moves it.

    Args:
        doing: text before the bar.
        in_words: formats how much is done.
        at_first: text shown until something is done.
    """
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]}", markup=False),
        TimeRemainingColumn(),
        console=PlainConsole(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(doing, total=None, done=at_first)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, done=in_words(done))

        yield on_progress
