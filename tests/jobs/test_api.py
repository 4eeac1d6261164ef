"""The program from Python: the same runs, and their results as values."""

from pathlib import Path

import numpy as np
import pytest

from encodeonce import FeatureStore, Run, compare, configure, evaluate, precompute
from encodeonce.harness.results.table import COLUMNS
from encodeonce.harness.run.folder import RunFolderError
from tests.jobs.scene import Scene, make_scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path, num_clips=2)


def test_a_run_from_python_is_the_command_line_s(scene: Scene) -> None:
    assert scene.execute("run", kv=["full", "snapkv@0.5"]).exit_code == 0
    expected = {(line["sample"], line["variant"]): line["text"] for line in scene.lines("records")}
    questions = {"file": str(scene.folder / "questions.jsonl"), "media_root": str(scene.media_root)}
    run = evaluate(
        model={"path": str(scene.folder / "model"), "dtype": "float32", "device": "cpu"},
        benchmarks=[{"name": "questions", "options": questions}],
        kv=["full", "snapkv@0.5"],
        frames=4,
        generation={"max_new_tokens": 3, "max_batch": 4},
        cache={"path": str(scene.folder / "cache")},
        workers={"executor": "local"},
        output=scene.folder / "python",
    )
    assert {(record.sample, record.variant): record.text for record in run.records()} == expected
    assert run.problems() == []
    assert "accuracy" in repr(run)
    assert run.summary()["evaluation"]["num_encoded"] == 0
    assert {page.name for page in run.report()} == {"report.md", "report.html"}
    again = Run(run.folder)
    assert again.summary() == run.summary()


def test_records_are_a_table(scene: Scene) -> None:
    pytest.importorskip("pandas")
    run = evaluate(scene.run_file(kv=["full", "snapkv@0.5"]), limit=3)
    table = run.to_pandas()
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 6
    assert table.groupby("kv")["score"].count().to_dict() == {"full": 3, "snapkv@0.5": 3}
    kept = table.set_index("kv")
    ratio = kept.loc["snapkv@0.5", "kept_kv_bytes"] / kept.loc["snapkv@0.5", "full_kv_bytes"]
    assert np.allclose(ratio, 0.5, atol=0.05)
    assert table["error"].isna().all()
    assert set(table["weights"]) == {"none"} and set(table["adapter"]) == {None}


def test_stages_and_stored_features(scene: Scene) -> None:
    path = scene.run_file()
    run = precompute(path)
    assert run.records() == []
    with FeatureStore(scene.folder / "cache") as store:
        (signature,) = store.signatures()
        assert signature.num_media == 2
        video = scene.media_root / "0.mp4"
        found = store.get(video)
        assert found.signature == signature.digest
        assert found.media in {one.media for one in store.media()}
        assert found.units == ("frame:0", "frame:7", "frame:15", "frame:23")
        assert found.arrays["main"].shape[0] == 4
        some = store.get(found.media[:12], units=["frame:15", "frame:0"])
        assert np.array_equal(some.arrays["main"], found.arrays["main"][[2, 0]])
    assert evaluate(path).summary()["evaluation"]["num_encoded"] == 0


def test_variants_of_a_run_are_compared(scene: Scene) -> None:
    run = evaluate(scene.run_file(kv=["full", "snapkv@0.5"]))
    found = compare(f"{run.folder}:none/full", f"{run.folder}:none/snapkv@0.5")
    assert "McNemar" in repr(found)
    assert found.to_markdown().startswith("# encodeonce: ")
    assert found.summary["second"]["name"].endswith("snapkv@0.5")
    assert repr(compare(run, run.folder))


def test_single_keys_of_a_file_s_sections_are_replaced(scene: Scene) -> None:
    config = configure(scene.run_file(), cache={"codec": "raw"}, device="auto", limit=1)
    assert config.cache.codec == "raw"
    assert config.cache.path == scene.folder / "cache"
    assert (config.model.device, config.model.dtype) == ("auto", "float32")


def test_mistakes_are_told_in_python_s_words(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kv: .*no method 'snapkw'"):
        evaluate(model="demo", benchmarks="demo", kv="snapkw@0.2")
    with pytest.raises(ValueError, match="modle: .*unknown key"):
        evaluate(modle="demo", benchmarks="demo")
    with pytest.raises(ValueError, match="benchmarks: no benchmark is called 'dmo'"):
        evaluate(model="demo", benchmarks=["dmo"])
    with pytest.raises(RunFolderError, match="has no run.json"):
        Run(tmp_path / "nothing")
