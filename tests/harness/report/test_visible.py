"""Text of others is shown as it is: neither markup nor control sequences act."""

import io
import json
import logging
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.report.plain_console import PlainConsole, plain_text
from encodeonce.harness.report.section import Figure, Section, Table
from encodeonce.harness.report.terminal import print_report
from encodeonce.harness.report.visible import VisibleFormatter, on_one_line, visible
from encodeonce.harness.run.record import SampleError
from encodeonce.jobs.cli.app import app
from tests.harness.runs import a_record, write_run

ROOT = Path(__file__).parents[3]
MARKUP = "w[/o] :smile: [red]x[/red]"
CONTROLS = "\x1b[2J\x1b]0;title\x07 \x9b31m \x7f \r \u202e \u2028 \udcff"
HOSTILE = f"{MARKUP} {CONTROLS}"
SHOWN = r"w[/o] :smile: [red]x[/red] \x1b[2J\x1b]0;title\x07 \x9b31m \x7f \x0d \u202e \u2028 \udcff"
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\ud800-\udfff]")


def section(text: str) -> Section:
    return Section(
        title=text,
        sentences=(text,),
        table=Table(columns=(text, text), rows=((text, text),), num_words=2),
        figures=(Figure(title=text, svg="<svg/>", words=text),),
        bullets=(text,),
    )


def test_control_characters_are_written_as_escapes_and_other_letters_stay() -> None:
    assert visible(HOSTILE) == SHOWN
    for text in ("a\tb\nc", "naïve 東京 👩\u200d🚀 می\u200cخواهم", r"\x1b"):
        assert visible(text) == text
    assert visible("a\r\nb") == "a\nb"
    assert on_one_line("a\nb\x85c\x1b") == r"a b c\x1b"


def test_a_terminal_shows_a_section_as_it_is() -> None:
    file = io.StringIO()
    print_report(PlainConsole(file=file, width=1000), [section(HOSTILE)])
    assert not UNSEEN.search(file.getvalue())
    assert file.getvalue().count(SHOWN) == 6
    assert on_one_line(HOSTILE) in file.getvalue()


def test_strings_and_text_on_the_console_are_plain() -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, width=1000)
    console.print(HOSTILE)
    console.print(plain_text(HOSTILE, "bold"))
    assert file.getvalue() == f"{SHOWN}\n{SHOWN}\n"


def test_markdown_holds_no_control_characters() -> None:
    page = to_markdown(HOSTILE, [section(HOSTILE)])
    assert not UNSEEN.search(page)
    assert page.startswith(f"# {on_one_line(HOSTILE)}\n")
    page.encode("utf-8")


def test_a_log_line_and_its_traceback_are_visible() -> None:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(VisibleFormatter("%(message)s"))
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        fault = (ValueError, error, error.__traceback__)
    handler.handle(logging.LogRecord("n", 30, "", 0, "%s", (HOSTILE,), fault))
    assert not UNSEEN.search(handler.stream.getvalue())
    assert handler.stream.getvalue().count(SHOWN) == 2


def test_report_and_compare_show_labels_names_and_errors_of_others(tmp_path: Path) -> None:
    text = HOSTILE.replace("\udcff", "")
    shown = SHOWN.replace(r"\udcff", "")
    folder = tmp_path / "out [v1] [/red]"
    records = [
        a_record("a1", benchmark=text, question=text, text=text, tags={text: "1", "b": text}),
        a_record("b1", 0.0, benchmark=text, tags={text: "2", "b": "c"}),
        a_record("c1", None, benchmark=text, error=SampleError(type="X", message=text)),
    ]
    write_run(folder, records, model={"path": text, "dtype": "float32"})
    runner = CliRunner(env={"COLUMNS": "400"})
    done = runner.invoke(app, ["report", str(folder), "--html"])
    assert isinstance(done.exception, SystemExit)
    assert not UNSEEN.search(done.output)
    assert shown in done.output
    assert f"report: {folder / 'report.md'}" in done.output
    assert not UNSEEN.search((folder / "report.md").read_text("utf-8"))
    compared = runner.invoke(
        app, ["compare", str(folder), str(folder), "--output", str(tmp_path / "c.md")]
    )
    assert compared.exit_code == 0, compared.output
    assert not UNSEEN.search(compared.output + (tmp_path / "c.md").read_text("utf-8"))


def test_an_error_message_is_shown_as_it_is(tmp_path: Path) -> None:
    done = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["report", f"{tmp_path}/[/x]\x1b[31m"])
    assert done.exit_code == 1
    assert r"/[/x]\x1b[31m is not" in done.output


def test_a_dry_run_names_files_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [
        {"id": "a", "video": "[/x]nope.mp4", "question": "?", "answer": "A"},
        {"id": "b", "video": "T [dQw4] \x1b[31m.mp4", "question": "?", "answer": "A"},
    ]
    Path("q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("run.yaml").write_text(
        'benchmarks: [{name: questions, label: "[/x]l", options: {file: q.jsonl, media_root: .}}]\n'
        "model: {path: demo, dtype: float32}\nworkers: {executor: local}\noutput: out\n"
    )
    done = CliRunner(env={"COLUMNS": "400"}).invoke(
        app, ["precompute", "--dry-run", "--output", "res[/red]", "run.yaml"]
    )
    assert isinstance(done.exception, SystemExit), done.exception
    assert "  [/x]nope.mp4: MissingMedia" in done.output
    assert r"  T [dQw4] \x1b[31m.mp4: MissingMedia" in done.output


def test_nothing_is_printed_past_the_plain_console() -> None:
    """No other module makes a console or `Text`, whose strings would act."""
    ours = ROOT / "harness" / "report" / "plain_console.py"
    rich_text = re.compile(r"(?<![A-Za-z_])(Console|Text|from_markup)\(")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("cache_store", "datasets", "harness", "jobs", "models")
        for path in (ROOT / folder).rglob("*.py")
        if path != ours
        for line in path.read_text("utf-8").splitlines()
        if rich_text.search(line)
    ]
    assert not found
