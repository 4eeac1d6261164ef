"""The common frame of all ``bench`` commands around the measurement itself."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from encodeonce.harness.bench.result_file import result_json, result_path, write_result
from encodeonce.harness.report.plain_console import PlainConsole, plain_text
from encodeonce.harness.report.section import Section
from encodeonce.harness.report.terminal import print_report
from encodeonce.jobs.cli.user_errors import user_errors

console = PlainConsole()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """A measurement in progress."""

    folder: Path
    """Temporary folder, deleted at the end."""
    started: datetime
    path: Path | None
    """The file for the measurements, if one was asked for."""

    def report(
        self, sections: Sequence[Section], measurements: Mapping[str, Any], headline: str = ""
    ) -> None:
        """Print the measurements, and write them to the file."""
        print_report(console, sections)
        if headline:
            console.print(headline, style="bold", soft_wrap=True)
        if self.path is not None:
            command = ["encodeonce", *sys.argv[1:]]
            write_result(self.path, result_json(measurements, when=self.started, command=command))
            console.print(f"all measurements: {self.path}", soft_wrap=True)


@contextmanager
def measuring(what: str, output: Path | None) -> Iterator[Measuring]:
    """Yield a measurement; an error that the user can fix ends the command with one message.

    Args:
        what: the thing measured; part of the file's name where ``output`` is a folder.
        output: file or folder for the measurements.
    """
    with tempfile.TemporaryDirectory(prefix="encodeonce-bench-") as folder, user_errors(OSError):
        started = datetime.now(UTC)
        path = None if output is None else result_path(output, what, started)
        yield Measuring(folder=Path(folder), started=started, path=path)


def print_step(step: str) -> None:
    """Say on a line of its own what is done next."""
    PlainConsole(stderr=True).print(f"measuring: {step}", soft_wrap=True)


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Show the current step on the terminal; yield the function that sets it."""
    with PlainConsole(stderr=True).status("measuring") as status:
        yield lambda step: status.update(plain_text(f"measuring: {step}"))
