"""Files for official evaluators, made from a run's records."""

import json
from pathlib import Path, PurePath

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import BenchmarkError
from encodeonce.harness.results.official_files import official_files
from encodeonce.harness.results.run_summary import read_results, summarize_run, write_official_files
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.record import Record, SampleError
from encodeonce.harness.run.scoring import check_scorable
from tests.datasets.benchmarks.image_layouts import milebench, mm_vet


def record(sample: str, text: str | None, variant: str = "none/full") -> Record:
    error = SampleError(type="MissingMedia", message="gone") if text is None else None
    return Record(
        run="r", benchmark="mm vet/../x", sample=sample, group="g", question="?", target="A",
        tags={"capabilities": "ocr"}, text=text, score=None if text is None else 0.5, error=error,
        variant=variant,
    )  # fmt: skip


def test_each_variant_has_its_files_under_harmless_names() -> None:
    benchmarks = {"mm vet/../x": load_benchmark("mm_vet", {"folder": "anywhere"})}
    records = [record("v1_0", "a"), record("v1_1", None), record("v1_0", "b", "int8/snapkv-0.5")]
    files = official_files(records, benchmarks)
    assert {str(path): json.loads(text) for path, text in files.items()} == {
        "mm_vet____x/none_full/mm-vet.json": {"v1_0": "a"},
        "mm_vet____x/int8_snapkv-0_5/mm-vet.json": {"v1_0": "b"},
    }
    assert all(".." not in PurePath(path).parts for path in files)


def test_nothing_is_written_for_benchmarks_without_an_evaluator_or_answers() -> None:
    demo = load_benchmark("demo", {})
    assert official_files([record("1", "a")], {"mm vet/../x": demo}) == {}
    assert official_files([record("1", "a")], {}) == {}
    mm_vet_benchmark = load_benchmark("mm_vet", {"folder": "anywhere"})
    assert official_files([record("1", None)], {"mm vet/../x": mm_vet_benchmark}) == {}


def run_folder(path: Path, name: str, options: dict[str, object]) -> RunFolder:
    """Return a run's folder with one answer to a question of a benchmark."""
    spec = {"name": name, "label": "mm vet/../x", "options": options}
    description = {"fingerprint": "0", "identity": {}, "config": {"benchmarks": [spec]}}
    (path / "run.json").write_text(json.dumps(description), encoding="utf-8")
    folder = RunFolder(path)
    with folder.writer("records") as file:
        file.write(record("v1_0", "a").to_dict())
    return folder


def test_a_run_folder_writes_them_and_knows_its_benchmarks_figures(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "mm_vet", {"folder": "anywhere"})
    assert write_official_files(folder, read_results(folder)) == tmp_path / "official"
    assert len(list((tmp_path / "official").rglob("mm-vet.json"))) == 1
    (result,) = summarize_run(folder)["evaluation"]["benchmarks"].values()
    assert result["figures"] == {"target held, %, questions that need ocr": 50.0}


def test_a_run_whose_options_are_no_longer_known_can_still_be_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = run_folder(tmp_path, "mm_vet", {"fodler": "anywhere"})
    assert write_official_files(folder, read_results(folder)) is None
    (result,) = summarize_run(folder)["evaluation"]["benchmarks"].values()
    assert (result["measure"], result["figures"]) == ("accuracy", {})
    assert "fodler" in caplog.text


def test_options_without_letters_are_not_compared_by_letters(tmp_path: Path) -> None:
    samples = load_benchmark("milebench", milebench(tmp_path)).samples()
    by_id = {sample.id: sample for sample in samples}
    check_scorable("choice_likelihood", by_id["ActionSequence/0"])
    with pytest.raises(BenchmarkError, match=r"have none \(target: 'dog 30'\)"):
        check_scorable("choice_likelihood", by_id["GPR1200/0"])


def test_every_target_can_be_a_reference(tmp_path: Path) -> None:
    for sample in load_benchmark("mm_vet", mm_vet(tmp_path)).samples():
        check_scorable("nll", sample)
