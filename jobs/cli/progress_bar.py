"""A bar on the terminal while a command works; in pipes and log files nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

OnProgress = Callable[[int, int], None]
"""Called with what is done, and what there is to do."""


@contextmanager
def progress_bar(
    doing: str, in_words: Callable[[int], str] = str, at_first: str = ""
) -> Iterator[OnProgress]:
    """Show a bar, which is gone at the end; yield the function that moves it.

    Args:
        doing: stands before the bar.
        in_words: says how much is done.
        at_first: stands there until something is.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(doing, total=None, done=at_first)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, done=in_words(done))

        yield on_progress
