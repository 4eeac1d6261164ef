"""Commands that compute nothing start without torch; groups know their commands by name alone."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from tests.jobs.scene import environment

HEAVY = {"accelerate", "datasets", "pandas", "ray", "scipy", "torch", "transformers"}
OLD_RUN = Path(__file__).parents[2] / "fixtures" / "run_of_9e61cdd"
WHICH = """\
import sys
from encodeonce.jobs.cli.main import main
sys.argv = ["encodeonce", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    status = ended.code
print("IMPORTED", status, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imported_by(*words: object) -> tuple[str, set[str]]:
    """Return what a command prints, and the libraries it imports; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", WHICH, *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    printed, _, imported = done.stdout.rpartition("IMPORTED ")
    status, *names = imported.split()
    assert status in ("None", "0"), done.stdout + done.stderr
    assert "numpy" in names or "rich" in names
    return printed, set(names)


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["--help"], "quantize"),
        (["-h"], "quantize"),
        (["--version"], "encodeonce 0."),
        (["run", "-h"], "RUN.yaml"),
        (["bench", "--help"], "sweep"),
        (["schema"], '"benchmarks"'),
        (["schema", "train"], '"compressor"'),
        (["schema", "serve"], '"experiments"'),
        (["benchmarks"], "video_mme"),
        (["benchmarks", "video_mme"], "Video-MME"),
        (["store", "--help"], "verify"),
        (["store", "stat", "{run}/cache"], "signature"),
        (["report", "{run}/results"], "accuracy"),
        (["compare", "{run}/results", "{run}/results"], "McNemar"),
        (["report", "{run}/results", "--latex"], "for papers"),
        (["view", "{run}/results", "--export", "{tmp}/page"], "page: {tmp}/page"),
        (["export", "{run}/results", "--to", "lmms-eval", "--output", "{tmp}"], "{tmp}"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_computes_nothing_starts_without_torch(
    words: list[str], printed: str, tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(OLD_RUN, run)
    description = run / "results" / "run.json"  # names its cache, which reports look into
    description.write_text(description.read_text("utf-8").replace("@FOLDER@", str(run)))
    other.mkdir()
    names = {"run": run, "tmp": other}
    output, imported = imported_by(*(word.format(**names) for word in words))
    assert printed.format(**names) in output
    assert HEAVY & imported == set()


def test_a_mistake_in_a_run_file_is_found_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("modle: {path: demo}\n")
    code = "import sys; from encodeonce.jobs.cli.app import app\n" + (
        "try: app(['run', sys.argv[1]])\n"
        "except SystemExit as ended: print(ended.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout == "1 False\n", done.stderr
    assert "modle: unknown key" in done.stderr


def command_line() -> Any:
    """Return the program's command line, as typer builds it."""
    return typer.main.get_command(app)


def first_line(help_text: str) -> str:
    return " ".join(help_text.split("\n\n")[0].split())


def test_a_group_s_lines_are_the_first_ones_of_its_commands() -> None:
    for group in (command_line(), command_line().lazy["bench"].load("bench")):
        assert len(group.lazy) > 3
        for name, lazy in group.lazy.items():
            loaded = lazy.load(name)
            assert loaded.name == name
            assert lazy.help == first_line(loaded.help)


def test_a_command_that_is_not_there_is_refused_with_a_similar_one() -> None:
    done = CliRunner().invoke(app, ["reprot"])
    assert done.exit_code == 2
    assert "Did you mean 'report'" in done.output


def test_commands_and_their_options_are_completed() -> None:
    def completed(words: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "encodeonce.jobs.cli.main"],
            env={
                **environment(),
                "_ENCODEONCE_COMPLETE": "complete_bash",
                "_PYTHON_M_ENCODEONCE_JOBS_CLI_MAIN_COMPLETE": "complete_bash",
                "_PYTHON _M ENCODEONCE.JOBS.CLI.MAIN_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split(" ")) - 1),
            },
            capture_output=True,
            text=True,
        )
        return done.stdout.split()

    assert completed("encodeonce st") == ["store"]
    assert "--output" in completed("encodeonce run --")
