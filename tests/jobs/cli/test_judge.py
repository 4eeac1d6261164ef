"""``encodeonce judge``, and a run whose answers are judged as it ends, against a local server."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from tests.datasets.benchmarks.image_layouts import mm_vet
from tests.harness.judging_stub import JudgeStub, completion, judging_stub
from tests.jobs.scene import Scene, make_scene


def half(body: dict[str, Any], number: int) -> tuple[int, Any]:
    return 200, completion("Half of it.\nSCORE: 0.5")


def invoke(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A run of MM-Vet that nobody has judged."""
    scene = make_scene(tmp_path_factory.mktemp("judged"), num_clips=1)
    done = scene.execute("run", benchmarks=benchmarks(scene))
    assert done.exit_code == 0, done.output
    return scene


def benchmarks(scene: Scene) -> list[dict[str, Any]]:
    options = mm_vet(scene.folder / "mm-vet")
    return [{"name": "mm_vet", "options": {"folder": str(options["folder"])}}]


def section(stub: JudgeStub, **changes: Any) -> dict[str, Any]:
    return {"model": "grader", "url": stub.url, "retries": 0, **changes}


def test_a_run_is_judged_as_it_ends_and_goes_on_where_the_judge_failed(answered: Scene) -> None:
    def once(body: dict[str, Any], number: int) -> tuple[int, Any]:
        return half(body, number) if number == 0 else (500, "broken")

    with judging_stub(once) as stub:
        judge = section(stub, concurrency=1)
        done = answered.execute("run", benchmarks=benchmarks(answered), judge=judge)
        assert done.exit_code == 1
        assert "2 of 3 answers have no verdict of grader" in done.output
        assert "1 of 3 judged" in done.output
    with judging_stub(half) as stub:
        done = answered.execute("run", benchmarks=benchmarks(answered), judge=section(stub))
        assert done.exit_code == 0, done.output
        assert len(stub.bodies) == 2
    # The run's own section is what `judge` begins with.
    report = json.loads((answered.output / "report.json").read_text())
    assert report["judged"][0]["figures"]["total"] == 50.0
    page = (answered.output / "report.html").read_text()
    assert "Judged answers" in page and "not comparable to the digit" in page


def test_a_judge_that_cannot_be_asked_leaves_the_report(answered: Scene) -> None:
    with judging_stub(lambda body, number: (401, "no")) as stub:
        judge = section(stub, model="closed")
        done = answered.execute("eval", benchmarks=benchmarks(answered), judge=judge)
    assert done.exit_code == 1, done.output
    assert "status 401: no" in done.output and "report.html" in done.output
    assert "Traceback" not in done.output
    assert "0 new verdicts are kept" in done.output


def test_options_stand_for_a_section_and_a_dry_run_asks_nothing(answered: Scene) -> None:
    folder = answered.output
    with judging_stub(half) as stub:
        words = ["--model", "other", "--url", stub.url]
        price = ["--set", "price.input=1000", "--set", "price.output=0"]
        done = invoke("judge", folder, *words, *price, "--dry-run")
        assert done.exit_code == 0, done.output
        assert "3 answers, 0 of them judged already" in done.output
        assert "3 requests of about" in done.output and "at most about" in done.output
        assert stub.bodies == []
        done = invoke("judge", folder, *words)
        assert done.exit_code == 0, done.output
        assert len(stub.bodies) == 3
        done = invoke("judge", folder, *words)
        assert (done.exit_code, len(stub.bodies)) == (0, 3)
    assert "no price is given" not in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "x", "--url", "nowhere"], "url"),
        (["--model", ""], "model"),
        (["--model", "x", "--set", "colour=1"], "colour"),
        (["--model", "x", "--set", "concurrency=0"], "concurrency"),
        (["--model", "x", "--set", "api_key=sk"], "environment variable"),
        (["--model", "x", "--set", "max_price=3"], "max_price needs price"),
        (["--model", "x", "--set", "temperature"], "must be KEY=VALUE"),
        (["--model", "x", "--progress", "loud"], "progress is shown as"),
    ],
)
def test_odd_options_are_refused_in_words(words: list[str], message: str, answered: Scene) -> None:
    done = invoke("judge", answered.output, *words)
    assert done.exit_code == 1
    assert message in done.output and "Traceback" not in done.output


def test_a_folder_without_a_run_or_a_judge_is_refused(tmp_path: Path) -> None:
    done = invoke("judge", tmp_path, "--model", "x")
    assert (done.exit_code, "is not the output folder of a run" in done.output) == (1, True)
    scene = make_scene(tmp_path, num_clips=1)
    assert scene.execute("run", limit=1).exit_code == 0
    done = invoke("judge", scene.output)
    assert done.exit_code == 1 and "names no judge: add a section judge" in done.output
    done = invoke("judge", scene.output, "--model", "x")
    assert done.exit_code == 1 and "none of the run's benchmarks (questions)" in done.output
