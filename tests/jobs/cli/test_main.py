"""The installed command prints nothing but our own output."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import encodeonce.jobs.cli.main
from tests.jobs.scene import environment

ROOT = Path(__file__).parents[3]


def test_the_command_is_quiet_about_libraries_that_it_imports() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = settings["project"]["scripts"]["encodeonce"].partition(":")
    assert getattr(encodeonce.jobs.cli.main, function)
    done = subprocess.run(
        [sys.executable, "-m", module, "quantize", "--help"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "--group-size" in done.stdout
    assert not done.stderr


def test_an_interrupt_while_the_libraries_are_read_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encodeonce.jobs.cli.main.importlib, "import_module", interrupted)
    with pytest.raises(SystemExit) as ended:
        encodeonce.jobs.cli.main.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "encodeonce: interrupted before any work\n"


def test_no_command_needs_ray_to_begin() -> None:
    """One machine can run without Ray installed; importing it takes a second of every command."""
    asked = "import sys, encodeonce.jobs.cli.app; sys.exit('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
