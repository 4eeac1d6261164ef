"""Runs with several variants from the command line: every cell once, with the same bits."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.logits import NotedLogits
from tests.jobs.scene import Scene, make_scene, write_questions

KV = ["full", {"method": "snapkv", "keep": [0.5, 0.25]}, {"method": "knorm", "keep": 0.5}]
NAMES = ("none/full", "none/snapkv@0.5", "none/snapkv@0.25", "none/knorm@0.5")

SAMPLES = [f"{clip}-{number}" for clip in range(3) for number in range(2)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


def bits(scene: Scene, output: Path | None = None) -> dict[tuple[str, str], str]:
    """Return the digests of all logits by variant and sample; each cell occurs once."""
    lines = scene.lines_of(output or scene.output, "records")
    cells = Counter((line["variant"], line["sample"]) for line in lines)
    assert set(cells.values()) == {1}
    return {(line["variant"], line["sample"]): line["logits_sha256"] for line in lines}


def cells_of(report: Any) -> dict[str, Any]:
    """Return what the report says of each variant on the questions."""
    return {
        name: one["benchmarks"]["questions"] for name, one in report["variants"]["variants"].items()
    }


def test_a_run_answers_every_question_under_every_variant(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    done = scene.execute("run", kv=KV, fidelity=True, check_uncached="all")
    assert done.exit_code == 0, done.stderr
    assert "24 of 24 answered" in done.stdout
    logits.assert_no_close_calls()
    assert "identical: 6 of 6" in done.stdout
    assert set(bits(scene)) == {(name, sample) for name in NAMES for sample in SAMPLES}
    cells = cells_of(scene.report())
    assert tuple(cells) == NAMES
    assert cells["none/full"]["kv"] is None
    assert cells["none/snapkv@0.5"]["kv"]["keep"] == pytest.approx(0.5, abs=0.05)
    assert cells["none/snapkv@0.25"]["kv"]["keep"] == pytest.approx(0.25, abs=0.05)
    assert cells["none/knorm@0.5"]["fidelity"]["num_forced_tokens"] > 0
    # One prefill for all caches: the first has it.
    assert "prefill" in cells["none/full"]["seconds"]
    assert "prefill" not in cells["none/knorm@0.5"]["seconds"]
    page = (scene.output / "report.md").read_text(encoding="utf-8")
    figures = {figure.name for figure in scene.output.glob("*.svg")}
    assert len(figures) == 2, "the differences, and quality against bytes"
    assert all(f"]({name})" in page for name in figures)


def test_the_full_cache_in_a_sweep_gives_the_bits_of_a_run_without_one(scene: Scene) -> None:
    assert scene.execute("run", kv=KV).exit_code == 0
    plain = scene.folder / "plain"
    assert scene.execute("run", output=str(plain)).exit_code == 0
    swept = {key: value for key, value in bits(scene).items() if key[0] == "none/full"}
    assert swept == bits(scene, plain)


def test_variants_that_are_added_later_are_all_that_is_computed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    assert scene.execute("run").exit_code == 0
    num_before = len(scene.lines("records"))
    done = scene.execute("run", kv=KV)
    assert done.exit_code == 0, done.stderr
    added = scene.lines("records")[num_before:]
    assert {line["variant"] for line in added} == set(NAMES[1:])
    assert len(added) == 3 * 6
    together = scene.folder / "together"
    assert scene.execute("run", kv=KV, output=str(together)).exit_code == 0
    logits.assert_no_close_calls()
    assert tokens(scene, scene.output) == tokens(scene, together)


def tokens(scene: Scene, output: Path) -> dict[tuple[str, str], list[int]]:
    lines = scene.lines_of(output, "records")
    return {(line["variant"], line["sample"]): line["token_ids"] for line in lines}


def test_cells_that_were_lost_are_answered_again_and_no_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    assert scene.execute("run", kv=KV).exit_code == 0
    before = tokens(scene, scene.output)
    path = scene.output / "records.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:5] + lines[9:14]), encoding="utf-8")
    done = scene.execute("run", kv=KV)
    assert done.exit_code == 0, done.stderr
    assert len(scene.lines("records")) == len(lines)
    bits(scene)
    logits.assert_no_close_calls()
    assert tokens(scene, scene.output) == before


def test_a_name_that_means_another_variant_is_refused(scene: Scene) -> None:
    kv = [{"method": "snapkv", "keep": 0.5, "label": "mine"}]
    assert scene.execute("run", kv=kv).exit_code == 0
    done = scene.execute("run", kv=[{"method": "knorm", "keep": 0.5, "label": "mine"}])
    assert done.exit_code == 1
    assert "another variant named 'mine'" in done.stderr
    assert "Traceback" not in done.stderr


def test_weights_are_loaded_once_each_and_share_all_features(scene: Scene) -> None:
    done = scene.execute("run", weights=["none", "torchao-int8"], kv=KV[:2])
    assert done.exit_code == 0, done.stderr
    report = scene.report()
    assert report["evaluation"]["num_answered"] == 6 * 2 * 3
    assert report["evaluation"]["hit_rate"] == 1.0
    assert report["precompute"]["num_encoded"] == 12
    weights = report["variants"]["weights"]
    assert [one["num_loads"] for one in weights.values()] == [1, 1]
    assert weights["torchao-int8"]["weight_bytes"] < weights["none"]["weight_bytes"]
    cells = cells_of(report)
    assert list(cells["torchao-int8/snapkv@0.5"]["against"]) == ["none/full", "torchao-int8/full"]
    assert "## Weights and caches on questions" in (scene.output / "report.md").read_text("utf-8")


def test_reference_texts_are_measured_under_every_variant(scene: Scene) -> None:
    options = {
        "file": str(scene.folder / "questions.jsonl"),
        "media_root": str(scene.media_root),
    }
    benchmark = {"name": "questions", "options": options, "scoring": "nll"}
    done = scene.execute("run", benchmarks=[benchmark], kv=KV, check_uncached="all")
    assert done.exit_code == 0, done.stderr
    cells = cells_of(scene.report())
    assert {cell["nll"]["num_tokens"] for cell in cells.values()} == {6 * len("yes")}
    full, half = cells["none/full"]["nll"], cells["none/snapkv@0.5"]["nll"]
    # The first token's probability comes from the full prefill under every cache.
    first = {
        (line["sample"], line["variant"]): line["first_log_probs"]["reference"]
        for line in scene.lines("records")
    }
    for sample in {sample for sample, _ in first}:
        assert first[sample, "none/knorm@0.5"] == pytest.approx(first[sample, "none/full"])
    assert half["perplexity_after_first"] != full["perplexity_after_first"]
    assert "perplexity" in (scene.output / "report.md").read_text("utf-8")


def test_a_question_that_cannot_be_asked_fails_under_every_variant_and_alone(scene: Scene) -> None:
    asked = {"a": "What is shown?", "b": "What does <image> mean?"}
    write_questions(
        scene.folder,
        [
            {"id": name, "question": text, "answer": "yes", "video": "0.mp4"}
            for name, text in asked.items()
        ],
    )
    done = scene.execute("run", kv=KV)
    assert done.exit_code == 1
    failed = {(one["sample"], one["error"] is not None) for one in scene.lines("records")}
    assert failed == {("a", False), ("b", True)}
    assert "4 of 8 samples have no answer" in done.stderr
