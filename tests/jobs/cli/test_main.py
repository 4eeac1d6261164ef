"""The installed command prints nothing but our own output."""

import subprocess
import sys
import tomllib
from pathlib import Path

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
