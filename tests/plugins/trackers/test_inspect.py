"""Our eval logs in the real inspect_ai; `make test-trackers` runs this."""

import importlib.util
from pathlib import Path

import pytest

from encodeonce.harness.bridges.export.inspect import SCORER, write
from encodeonce.harness.results.export import read_run
from tests.harness.bridges.export.runs import OTHER, TEXTS, write_run

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("inspect_ai") is None,
        reason="needs inspect_ai: type `make test-trackers`",
    ),
    # Theirs, of what their own libraries deprecate.
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]


def test_inspect_reads_every_sample_score_and_error(tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    baseline, other = read_run(write_run(tmp_path))
    (path,) = write(baseline, tmp_path / "out")
    log = read_eval_log(str(path))
    assert (log.status, log.eval.task, log.eval.metadata["variant"]) == (
        "success", "my task", "none/full",
    )  # fmt: skip
    assert log.results.scores[0].metrics["mean"].value == 0.75
    assert {one.id: one.output.completion for one in log.samples} == TEXTS
    assert all(one.scores[SCORER].value in (0.0, 1.0) for one in log.samples)
    (path,) = write(other, tmp_path / "out")
    log = read_eval_log(str(path))
    assert log.eval.metadata["variant"] == OTHER
    (failed,) = [one for one in log.samples if one.error is not None]
    assert failed.id == "b-1" and failed.error.message == "UndecodableMedia: torn"
    assert read_eval_log(str(path), header_only=True).results.completed_samples == 3


def test_inspect_writes_it_back_and_reads_the_same(tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    (run, _) = read_run(write_run(tmp_path))
    (path,) = write(run, tmp_path / "out")
    log = read_eval_log(str(path))
    for name in ("again.json", "again.eval"):
        write_eval_log(log, str(tmp_path / name))
        again = read_eval_log(str(tmp_path / name))
        assert [one.model_dump() for one in again.samples] == [
            one.model_dump() for one in log.samples
        ]
        assert again.results == log.results


def test_inspects_tables_have_a_row_for_each_log_and_sample(tmp_path: Path) -> None:
    from inspect_ai.analysis import evals_df, samples_df

    for run in read_run(write_run(tmp_path)):
        write(run, tmp_path / "out")
    evals = evals_df(str(tmp_path / "out"), quiet=True)
    assert len(evals) == 2 and set(evals["task_name"]) == {"my task"}
    samples = samples_df(str(tmp_path / "out"), quiet=True)
    assert sorted(samples[f"score_{SCORER}"].dropna()) == [0.0, 0.0, *[1.0] * 5]
