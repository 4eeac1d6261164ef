"""Runs in the real wandb, trackio and mlflow, without a network; `make test-trackers` runs this."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.bridges.tracking import log_run
from encodeonce.harness.report.write import write_report
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.run.after.log_spec import LogSpec
from encodeonce.models.kv.spec import FULL, KVSpec
from tests.harness.runs import a_record, write_run

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("wandb", "trackio", "mlflow")),
        reason="needs wandb, trackio and mlflow: type `make test-trackers`",
    ),
    # Theirs, of what their own libraries deprecate.
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]

SNAP = "none/snapkv@0.2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two variants with a report: 2 of 3 right, and 1 of 3."""
    scores = {"none/full": (1.0, 1.0, 0.0), SNAP: (1.0, 0.0, 0.0)}
    records = [
        a_record(sample, score, variant=variant, benchmark="demo")
        for variant, own in scores.items()
        for sample, score in zip(("a1", "b1", "c1"), own, strict=True)
    ]
    kv = (FULL, KVSpec(method="snapkv", keep=0.2))
    write_report(write_run(tmp_path / "my-run", records, kv=kv))
    return tmp_path / "my-run"


def send(folder: Path, **log: Any) -> list[str]:
    from encodeonce.harness.run.folder import RunFolder

    summary = summarize_run(RunFolder(folder))
    done, failed = log_run(folder, summary, LogSpec.model_validate(log))
    assert failed == []
    return done


def test_mlflow_has_figures_and_report_and_goes_on_with_the_same_run(folder: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{folder.parent / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)  # where mlflow puts files of a database's runs
        for _ in range(2):
            (line,) = send(folder, mlflow={"tracking_uri": uri, "experiment": "vlm"})
        client = MlflowClient(tracking_uri=uri)
        number = client.get_experiment_by_name("vlm").experiment_id
        (run,) = client.search_runs([number])
        files = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert run.info.run_id in line and run.info.run_name == "my-run"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["demo/none/full/score"] == pytest.approx(2 / 3)
    assert run.data.metrics["demo/none/snapkv_0.2/score"] == pytest.approx(1 / 3)
    assert run.data.metrics["evaluation/num_answered"] == 6
    assert run.data.params["model"] == "demo"
    assert files == {"config.json", "report.json", "report.md", "report.html"}


def test_trackio_has_figures_in_its_database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where its database lies is read when trackio is imported.
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.plugins.trackers.test_trackers import send\n"
        "for _ in range(2):\n"
        "    print(send(Path(sys.argv[1]), trackio={'project': 'vlm'}))\n"
        "from trackio.sqlite_storage import SQLiteStorage as stored\n"
        "(run,) = stored.get_run_records('vlm')\n"
        "logs = stored.get_logs('vlm', run['name'])\n"
        "print(run['name'], logs[-1]['demo/none/full/score'], logs[-1]['step'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={
            **os.environ,
            "TRACKIO_DIR": str(folder.parent / "trackio"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name, score, step = done.stdout.splitlines()[-1].split()
    assert name.startswith("my-run-") and float(score) == pytest.approx(2 / 3) and int(step) >= 6
    assert any((folder.parent / "trackio").glob("vlm*.db"))


def test_wandb_offline_writes_a_run_that_can_be_synced(folder: Path) -> None:
    import wandb

    (line,) = send(folder, wandb={"mode": "offline", "project": "vlm", "tags": ["t"]})
    wandb.teardown()  # as at the process's end: its service has written all of it then
    (file,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    assert str(file.parent) in line
    content = file.read_bytes()
    # The transaction log is protobuf in blocks: names and values stand in it as they are.
    for text in (b"demo/none/full/score", SNAP.encode(), b"my-run", b"vlm", b"report.html"):
        assert text in content, text


def test_one_tracker_that_fails_keeps_none_of_the_others(folder: Path) -> None:
    from encodeonce.harness.run.folder import RunFolder

    summary = summarize_run(RunFolder(folder))
    log = {
        "mlflow": {"tracking_uri": f"sqlite:///{folder / 'run.json'}"},  # no database
        "wandb": {"mode": "offline"},
    }
    done, failed = log_run(folder, summary, LogSpec.model_validate(log))
    assert [line.partition(":")[0] for line in done] == ["wandb"]
    assert len(failed) == 1 and failed[0].startswith("log: mlflow: ")
