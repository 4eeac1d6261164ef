"""``encodeonce bench quant`` through the command line."""

import json
from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from tests.fixtures.clips import write_clip


def bench(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["bench", "quant", *arguments])


def test_variants_are_written_as_in_a_run_file(tmp_path: Path) -> None:
    clip, output = write_clip(tmp_path / "clip.mp4"), tmp_path / "out.json"
    variants = ("bnb-int8", "{method: rtn, options: {kernel: int4}, label: four bits}")
    usual = ("--media", str(clip), "--runs", "1", "--new-tokens", "3", "--frames", "2")
    done = bench(*variants, *usual, "--device", "cpu", "--output", str(output))
    assert done.exit_code == 0, done.stderr
    for word in ("peak answering", "first token, s", "KL, first token", "four bits"):
        assert word in done.stdout
    names = [one["name"] for one in json.loads(output.read_text())["variants"]]
    assert names == ["none", "bnb-int8", "four bits"]


def test_what_cannot_be_is_said_in_one_message() -> None:
    unknown = bench("bnb-int7")
    assert unknown.exit_code == 1
    assert "Did you mean 'bnb-int8'?" in " ".join(unknown.stderr.split())
    shape = bench("rtn", "--random", "gpt")
    assert shape.exit_code == 1
    assert "no such shape; allowed: llava-tiny" in shape.stderr
