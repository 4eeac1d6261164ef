"""The output folder: resuming, locking, and refusing what belongs to another run."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import RunFolder, RunFolderError
from encodeonce.harness.run.meanings import describe_variants
from encodeonce.harness.run.record import Record, SampleError
from encodeonce.models.answer import Fidelity, KVUse, LoadedWeights


def config(folder: Path, **changes: object) -> RunConfig:
    content = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": str(folder)}
    return RunConfig.model_validate({**content, **changes})


def create(config: RunConfig, checkpoint: str = "c", samples: str = "s") -> RunFolder:
    return RunFolder.create(
        config,
        checkpoint_sha256=checkpoint,
        samples_sha256=samples,
        variants=describe_variants(config.weights, config.kv, lambda path: ""),
    )


def record(sample: str, text: str | None) -> Record:
    error = SampleError(type="MissingMedia", message="gone") if text is None else None
    return Record(
        run="r",
        benchmark="b",
        sample=sample,
        group="g",
        question="?",
        target="A",
        text=text,
        error=error,
    )


def write(folder: RunFolder, *records: Record) -> None:
    with folder.writer("records") as file:
        for item in records:
            file.write(item.to_dict())


def test_the_same_configuration_finds_its_records_again(tmp_path: Path) -> None:
    folder = create(config(tmp_path))
    write(folder, record("1", "A"))
    again = create(config(tmp_path, workers={"num_workers": 7}))
    assert again.answered("records") == {("b", "1", "none/full")}
    assert again.records("records") == [record("1", "A")]


def test_another_configuration_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    create(config(tmp_path))
    other = config(tmp_path, vision={"tap": "projected"})
    with pytest.raises(RunFolderError, match="another run, which differs in: vision"):
        create(other)
    with pytest.raises(RunFolderError, match="differs in: questions"):
        create(config(tmp_path), samples="others")
    with pytest.raises(RunFolderError, match="differs in: checkpoint files"):
        create(config(tmp_path), checkpoint="changed")


def test_variants_can_be_added_and_none_can_change_its_meaning(tmp_path: Path) -> None:
    kv = [{"method": "snapkv", "keep": 0.5, "label": "half"}]
    create(config(tmp_path, kv=kv))
    folder = create(config(tmp_path, kv=["full"]))
    assert list(folder.description()["variants"]["kv"]) == ["half", "full"]
    kv = [{"method": "snapkv", "keep": 0.4, "label": "half"}]
    with pytest.raises(RunFolderError, match="another variant named 'half'.*'label'"):
        create(config(tmp_path, kv=kv))


def test_every_variant_has_an_answer_of_its_own(tmp_path: Path) -> None:
    folder = create(config(tmp_path))
    write(folder, record("1", "A"), replace(record("1", "B"), variant="none/half"))
    assert folder.answered("records") == {("b", "1", "none/full"), ("b", "1", "none/half")}


def test_an_error_is_tried_again_and_an_answer_is_final(tmp_path: Path) -> None:
    folder = create(config(tmp_path))
    write(folder, record("1", None), record("2", "A"))
    assert folder.answered("records") == {("b", "2", "none/full")}
    write(folder, record("1", "B"), record("2", None))
    assert {item.sample: item.text for item in folder.records("records")} == {"1": "B", "2": "A"}


def test_two_processes_cannot_write_to_one_folder_and_a_killed_one_leaves_no_lock(
    tmp_path: Path,
) -> None:
    folder = create(config(tmp_path))
    code = textwrap.dedent(
        """
        import sys, time, pathlib
        from encodeonce.harness.run.folder import RunFolder
        with RunFolder(pathlib.Path(sys.argv[1])):
            print("locked", flush=True)
            time.sleep(60)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=os.environ
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(RunFolderError, match="another encodeonce process"), folder:
            pass
        other.kill()
    with folder:
        pass


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not the output folder of a run"):
        RunFolder(tmp_path).description()


def test_records_survive_the_way_to_disk(tmp_path: Path) -> None:
    folder = create(config(tmp_path))
    use = KVUse(
        full_bytes=100,
        kept_bytes=50,
        kept_visual_bytes=30,
        full_visual_bytes=60,
        full_end_bytes=110,
        end_bytes=60,
        keep_by_layer=(0.25, 0.75),
    )
    full = replace(
        record("1", "A"),
        tags={"kind": "order"},
        score=1.0,
        seconds={"prefill": 0.1},
        token_ids=(3, 1, 4),
        kv=use,
        fidelity=Fidelity(num_tokens=2, num_agreeing=1, total_kl=0.5),
        first_log_probs={"reference": -0.25},
        loaded=LoadedWeights(bytes_by_part={"layers": 5}, load_s=3.0, peak_bytes=None),
    )
    write(folder, full)
    assert folder.records("records") == [full]


@pytest.mark.parametrize(
    ("changes", "fingerprint"),
    [
        (
            {"video_backend": "auto"},  # their default
            "fff7a16913a61a688f32ac59fab1023dca04421abfcef888229b14784f1f11d8",
        ),
        (
            {"decoder": "pyav"},
            "444c7959f706a90d3475945dcb3406c811e81a031cea39b45cc55978b0b666a2",
        ),
        (
            {
                "video_backend": "decord",
                "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
                "frames": {"policy": "fps", "fps": 1, "max_frames": 8},
                "vision": {"tap": "projected", "micro_batch": 2},
                "generation": {"max_new_tokens": 7},
                "fidelity": True,
            },
            "4db4c7b13ea6d7cd45c64f292242a2d9687a21280a1a569c4c0cef6b64c362e2",
        ),
    ],
)
def test_a_fingerprint_is_the_one_that_earlier_versions_gave(
    tmp_path: Path, changes: dict[str, object], fingerprint: str
) -> None:
    """Recorded from commit 9e61cdd, when ``video_backend`` was called ``decoder``."""
    assert create(config(tmp_path, **changes)).fingerprint == fingerprint


def test_the_difference_of_another_run_is_called_as_in_the_run_file(tmp_path: Path) -> None:
    create(config(tmp_path, video_backend="decord"))
    with pytest.raises(RunFolderError, match=r"differs in: video_backend\..*start again\.$"):
        create(config(tmp_path))


def test_a_run_of_the_former_default_is_told_how_to_go_on(tmp_path: Path) -> None:
    create(config(tmp_path, video_backend="auto"))
    with pytest.raises(RunFolderError, match="video_backend was auto by default, write it there"):
        create(config(tmp_path))
    create(config(tmp_path, video_backend="auto"))


def test_the_folder_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    before = create(config(tmp_path, decoder="pyav")).description()
    assert before["identity"]["decoder"] == "pyav"
    before["config"]["decoder"] = before["config"].pop("video_backend")
    (tmp_path / "run.json").write_text(json.dumps(before), encoding="utf-8")
    assert create(config(tmp_path, video_backend="pyav")).fingerprint == before["fingerprint"]
