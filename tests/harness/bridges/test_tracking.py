"""What experiment trackers get of a run; the trackers themselves are in tests/plugins/trackers."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.bridges.tracking import TrackerError, check_trackers, log_run, tracked
from encodeonce.harness.report.write import write_report
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.run.after.log_spec import LogSpec
from encodeonce.harness.run.config import RunConfig
from encodeonce.models.kv.spec import FULL, KVSpec
from tests.harness.runs import a_record, write_run

SNAP = "none/snapkv@0.2"
FOLDER = Path(__file__).parents[3] / "harness/bridges/trackers"


def test_each_variant_has_its_score_with_its_interval(tmp_path: Path) -> None:
    scores = {"none/full": (1.0, 1.0, 0.0), SNAP: (1.0, 0.0, 0.0)}
    records = [
        a_record(sample, score, variant=variant, benchmark="demo")
        for variant, own in scores.items()
        for sample, score in zip(("a1", "b1", "c1"), own, strict=True)
    ]
    folder = write_run(tmp_path / "run", records, kv=(FULL, KVSpec(method="snapkv", keep=0.2)))
    before = tracked(folder.path, summarize_run(folder))
    assert before.files == ()
    write_report(folder)
    run = tracked(folder.path, summarize_run(folder), "mine")
    assert (run.name, run.step, run.id) == ("mine", 6, before.id)
    assert before.name == "run" and len(run.files) == 3
    assert run.figures["demo/none/full/score"] == pytest.approx(2 / 3)
    assert run.figures[f"demo/{SNAP}/score"] == pytest.approx(1 / 3)
    low, high = (run.figures[f"demo/{SNAP}/score_{end}"] for end in ("low", "high"))
    assert low < 1 / 3 < high
    assert run.config["model"]["path"] == "demo"


def test_the_section_and_the_folder_name_the_same_trackers() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(LogSpec.model_fields)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ({}, "names no tracker; known: wandb, trackio, mlflow"),
        ({"wandb": {"mode": "later"}}, "online"),
        ({"tensorboard": {}}, "tensorboard"),
        ({"mlflow": {"experiment": ""}}, "experiment"),
    ],
)
def test_a_section_that_is_not_allowed_is_refused(log: Any, message: str) -> None:
    content = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "x"}
    with pytest.raises(ValueError, match=message):
        RunConfig.model_validate({**content, "log": log})
    asked = RunConfig.model_validate({**content, "log": {"trackio": {}}})
    assert asked.answer_fields() == RunConfig.model_validate(content).answer_fields()


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed_is_refused_before_and_named_after(tmp_path: Path) -> None:
    spec = LogSpec.model_validate({"wandb": {}})
    with pytest.raises(TrackerError, match=r"wandb is not installed.*encodeonce\[wandb\]"):
        check_trackers(spec)
    folder = write_run(tmp_path / "run", [a_record("a1", benchmark="demo")])
    done, (failed,) = log_run(folder.path, summarize_run(folder), spec)
    assert done == [] and failed.startswith("log: wandb: TrackerError: ")
