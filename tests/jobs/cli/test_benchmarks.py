"""The output of ``encodeonce benchmarks`` in terminals of two widths."""

import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner

from encodeonce.datasets.options import options_of, run_file_entry
from encodeonce.datasets.registry import benchmark_class, benchmark_names
from encodeonce.jobs.cli import benchmarks
from encodeonce.jobs.cli.app import app

WIDTHS = [80, 120]


def show(monkeypatch: pytest.MonkeyPatch, width: int, *arguments: str) -> Result:
    monkeypatch.setattr(benchmarks, "console", Console(width=width))
    return CliRunner().invoke(app, ["benchmarks", *arguments])


def words(text: str) -> str:
    """Return a text unwrapped."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_has_every_benchmark_and_fits(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show(monkeypatch, width)
    assert shown.exit_code == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= width
    for name in benchmark_names():
        known = benchmark_class(name)
        assert f"\n{name} " in shown.stdout
        assert known.about.source in words(shown.stdout)
        for option in known.model_fields:
            assert option in shown.stdout


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", benchmark_names())
def test_a_benchmark_has_a_page(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(monkeypatch, width, name)
    assert shown.exit_code == 0, shown.stderr
    known = benchmark_class(name)
    page = words(shown.stdout)
    assert words(known.about.download) in page
    for option in options_of(known):
        assert words(option.meaning) in page
    assert shown.stdout.rstrip().endswith(run_file_entry(name, known))


def test_commands_stand_on_lines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(monkeypatch, 80, "longvideobench")
    assert (
        "\n    hf download longvideobench/LongVideoBench --repo-type dataset --local-dir "
        "LongVideoBench\n    cat videos.tar.part.* | tar x\n    tar xf subtitles.tar\n"
    ) in shown.stdout


def test_a_misspelt_name_gets_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(monkeypatch, 80, "video_mne")
    assert shown.exit_code == 1
    assert "Did you mean 'video_mme'?" in words(shown.stderr)
    assert "Traceback" not in shown.stderr
