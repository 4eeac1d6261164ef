"""lmms-eval's result files."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.bridges.export import lmms_eval
from encodeonce.harness.bridges.export.lmms_eval import clustered_standard_error, standard_error
from encodeonce.harness.results.export import read_run
from tests.harness.bridges.export.runs import write_run


def written(tmp_path: Path, variant: int, **options: Any) -> tuple[dict[str, Any], list[Any], Path]:
    run = read_run(write_run(tmp_path, **options))[variant]
    results, samples = lmms_eval.write(run, tmp_path / "out")
    lines = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    return json.loads(results.read_text("utf-8")), lines, samples


def test_results_are_keyed_by_metric_and_filter(tmp_path: Path) -> None:
    results, _, _ = written(tmp_path, 0)
    figures = results["results"]["my_task"]
    assert figures["alias"] == "my_task"
    assert figures["score,none"] == 0.75
    assert figures["score_stderr,none"] == pytest.approx(0.25)
    assert set(figures) == {
        "alias",
        "score,none",
        "score_stderr,none",
        "score_stderr_clt,none",
        "score_stderr_clustered,none",
    }
    assert results["n-samples"] == {"my_task": {"original": 4, "effective": 4}}
    assert results["higher_is_better"] == {"my_task": {"score": True}}
    assert results["config"]["model_args"].startswith("pretrained=llava-hf/llava-1.5-7b-hf,")


def test_a_sample_is_a_line_in_the_benchmarks_order(tmp_path: Path) -> None:
    _, lines, path = written(tmp_path, 0)
    assert path.parent.name == "llava-hf__llava-1.5-7b-hf__none_full"
    assert path.name.endswith("_samples_my_task.jsonl")
    assert [line["doc_id"] for line in lines] == [0, 1, 2, 3]
    assert lines[2] == {
        "doc_id": 2,
        "target": "A",
        "filtered_resps": "A. red",
        "token_counts": [{"input_tokens": 102, "output_tokens": 2}],
        "doc_hash": lines[2]["doc_hash"],
        "input": lines[2]["input"],
        "input_media": ["b.mp4"],
        "sample_id": "b-1",
        "score": 1.0,
    }
    assert lines[2]["input"].startswith("Question b-1?\nA. red\nB. blue\n")
    assert len({line["doc_hash"] for line in lines}) == 4


def test_a_failed_sample_has_no_line_and_is_not_scored(tmp_path: Path) -> None:
    results, lines, _ = written(tmp_path, 1)
    assert [line["doc_id"] for line in lines] == [0, 1, 3]
    assert results["n-samples"] == {"my_task": {"original": 4, "effective": 3}}
    assert results["results"]["my_task"]["score,none"] == pytest.approx(2 / 3)


def test_likelihoods_are_a_metric_of_their_own(tmp_path: Path) -> None:
    results, lines, _ = written(tmp_path, 0, scoring="nll")
    assert [line["nll"] for line in lines] == [0.0, 1.0, 2.0, 3.0]
    assert results["results"]["my_task"]["nll,none"] == 1.5
    assert results["higher_is_better"] == {"my_task": {"nll": False}}


def test_standard_errors_by_hand() -> None:
    assert standard_error([0.0, 1.0]) == pytest.approx(0.5)
    assert standard_error([1.0]) == "N/A"
    # Two clusters of two equal values: as little is known as from two values, n = 4 apart from
    # the sample's variance: sqrt(1/3 / 4 + 4 * (1/2 * 1/2) / 16).
    alike = [(0.0, "a"), (0.0, "a"), (1.0, "b"), (1.0, "b")]
    assert clustered_standard_error(alike) == pytest.approx(math.sqrt(1 / 12 + 1 / 16))
    assert clustered_standard_error(alike[:2]) == "N/A"


def test_lmms_evals_own_readers_understand_it(tmp_path: Path) -> None:
    loader = pytest.importorskip(
        "lmms_eval.baselines.loader", reason="needs lmms-eval: make test-plugins"
    )
    metrics = pytest.importorskip("lmms_eval.api.metrics")
    utils = pytest.importorskip("lmms_eval.utils")
    results, _, path = written(tmp_path, 0)
    scores, found = loader.load_baseline(str(path), "my_task")
    assert scores == {0: 1.0, 1: 0.0, 2: 1.0, 3: 1.0}
    assert found == results
    table = utils.make_table(results).replace(" ", "")  # columns are as wide as its writer likes
    assert "|my_task|none|0|score|" in table
    clusters = ["a", "a", "b", "b"]
    values = [1.0, 0.0, 1.0, 1.0]
    ours = clustered_standard_error(list(zip(values, clusters, strict=True)))
    assert ours == pytest.approx(metrics.clustered_stderr(values, clusters))
