"""``encodeonce view``: a page over all answers of a run, or of two side by side."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.report.numbers import human_bytes, human_count
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.viewer.answers import Answers, ViewError, read_answers
from encodeonce.harness.viewer.chunks import Chunks
from encodeonce.harness.viewer.export import export
from encodeonce.harness.viewer.media import Media
from encodeonce.harness.viewer.server import make_server
from encodeonce.jobs.cli.user_errors import user_errors

console = PlainConsole()


def view(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER [FOLDER]", help="Output folder of a run, or two."),
    ],
    variants: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Show these variants alone, e.g. 'none/*'. Can be repeated.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port of this machine; 0: any that is free.", show_default="8421"
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-browser", help="Open a browser there.")
    ] = False,
    target: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FOLDER", help="Write the page to a folder instead, and end."
        ),
    ] = None,
    frames: Annotated[
        bool, typer.Option("--frames/--no-frames", help="Whether an export has frames.")
    ] = True,
) -> None:
    """Show all answers of a run, or of two side by side, as a page on this machine."""
    with user_errors():
        answers = read_answers(folders, variants or ())
        if target is not None:
            if port is not None or open_browser:
                raise ViewError("--export serves nothing: leave --port and --open out")
            _export(answers, target, frames)
        else:
            _serve(answers, port, open_browser)


def _export(answers: Answers, target: Path, with_frames: bool) -> None:
    written = export(Chunks(answers), Media(answers), target, with_frames)
    shown = written.num_media - written.num_without_frames
    frames = f"frames of {shown} of {written.num_media} media" if with_frames else "no frames"
    size = human_bytes(written.num_bytes)
    console.print(f"{_counted(answers)}, {frames}, {size}", soft_wrap=True)
    console.print(f"page: {written.page}", soft_wrap=True)


def _serve(answers: Answers, port: int | None, open_browser: bool) -> None:
    with make_server(Chunks(answers), Media(answers), port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        console.print(f"{_counted(answers)}: {address} (Ctrl-C ends it)", soft_wrap=True)
        if open_browser and not webbrowser.open(address):
            console.print("no browser could be opened; open the address yourself", soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("ended", soft_wrap=True)


def _counted(answers: Answers) -> str:
    num_records = sum(one is not None for row in answers.rows for one in row.answers)
    return (
        f"{human_count(num_records, 'answer')} to {human_count(len(answers.rows), 'sample')} under "
        f"{human_count(len(answers.columns), 'variant')}"
    )
