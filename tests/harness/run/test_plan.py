"""Grouping by media, and what is left of a plan once part of it is done."""

from pathlib import Path

import pytest

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.datasets.sample import BenchmarkError, Sample
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import (
    MediaGroup,
    Plan,
    branches_left,
    first_samples,
    make_plan,
    without_samples,
)
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec
from tests.datasets.benchmarks.video_examples import video_mme_example


def group(benchmark: str, video: str, *ids: str) -> MediaGroup:
    ref = MediaRef(kind="video", path=video)
    samples = tuple(
        Sample(id=name, media=(ref,), question=f"{name}?", target="A", group=video) for name in ids
    )
    return MediaGroup(
        benchmark=benchmark,
        root=Path("media"),
        media=(ref,),
        samples=samples,
        prompts=tuple(f"prompt of {name}" for name in ids),
        together=tuple(f"prompt of {name}" for name in ids),
    )


def test_media_shared_by_two_benchmarks_are_encoded_once() -> None:
    groups = (group("x", "1.mp4", "a"), group("y", "1.mp4", "a"), group("y", "2.mp4", "b"))
    plan = Plan(benchmarks={}, groups=groups, every_group=groups, samples_sha256="")
    assert [planned.ref.path for planned in plan.media()] == ["1.mp4", "2.mp4"]


def test_done_samples_are_left_out_and_prompts_stay_with_their_samples() -> None:
    groups = (group("x", "1.mp4", "a", "b", "c"), group("x", "2.mp4", "d"), group("y", "1", "a"))
    left = without_samples(groups, {("x", "b"), ("x", "d")})
    assert [[sample.id for sample in kept.samples] for kept in left] == [["a", "c"], ["a"]]
    assert left[0].prompts == ("prompt of a", "prompt of c")
    # All are still computed together, so that the rest comes out as it would have.
    assert left[0].together == ("prompt of a", "prompt of b", "prompt of c")
    assert left[1].benchmark == "y"


def test_first_samples_counts_within_each_benchmark() -> None:
    groups = (group("x", "1.mp4", "a", "b"), group("x", "2.mp4", "c"), group("y", "1", "d", "e"))
    left = first_samples(groups, 1)
    assert [(kept.benchmark, [s.id for s in kept.samples]) for kept in left] == [
        ("x", ["a"]),
        ("y", ["d"]),
    ]
    assert first_samples(groups, 0) == ()


def test_prompts_that_depend_on_the_frames_are_written_for_those_of_the_run(tmp_path: Path) -> None:
    options = {**video_mme_example(tmp_path), "subtitles": "frames"}
    config = RunConfig.model_validate(
        {
            "model": {"path": "demo"},
            "benchmarks": [{"name": "video_mme", "options": options}],
            "frames": {"policy": "uniform_inclusive", "num_frames": 1},
            "output": tmp_path / "out",
        }
    )
    one_frame = make_plan(config)
    assert "listed below:\nat the start\nSelect" in one_frame.groups[0].prompts[0]
    more = config.model_copy(update={"frames": UniformInclusive(num_frames=4)})
    assert "at the start\nin the middle & on" in make_plan(more).groups[0].prompts[0]
    assert make_plan(more).samples_sha256 != one_frame.samples_sha256


def test_other_subtitles_are_other_questions(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            "model": {"path": "demo"},
            "benchmarks": [
                {
                    "name": "video_mme",
                    "options": {**video_mme_example(tmp_path), "subtitles": "full"},
                }
            ],
            "frames": {"policy": "uniform_inclusive", "num_frames": 1},
            "output": tmp_path / "out",
        }
    )
    before = make_plan(config).samples_sha256
    path = tmp_path / "subtitle" / "aaaaaaaaaaa.srt"
    path.write_text(path.read_text("utf-8").replace("start", "beginning"), encoding="utf-8")
    changed = make_plan(config).samples_sha256
    assert changed != before
    path.unlink()
    assert make_plan(config).samples_sha256 not in (before, changed)


HALF = KVSpec(method="snapkv", keep=0.5, label="half")
NF4 = WeightsSpec(method="bnb-nf4", label="nf4")


def test_a_branch_holds_the_samples_and_the_settings_that_lack_an_answer() -> None:
    groups = (group("x", "1.mp4", "a", "b", "c"), group("x", "2.mp4", "d"))
    answered = {
        *(("x", name, f"none/{kv}") for name in "bd" for kv in ("full", "half")),
        ("x", "a", "none/full"),
        ("x", "c", "none/full"),
        ("x", "c", "nf4/half"),
    }
    whole, *quantised = branches_left(groups, (NONE, NF4), (FULL, HALF), answered)
    assert whole.weights == NONE
    assert [sample.id for sample in whole.group.samples] == ["a", "c"]
    # Only one setting is missing, and only it is asked again; all questions still are.
    assert whole.settings == (HALF,)
    assert whole.missing == {("a", "half"), ("c", "half")}
    assert len(whole.group.together) == 3
    assert [len(branch.missing) for branch in quantised] == [5, 2]
    assert {branch.weights.title for branch in quantised} == {"nf4"}


def test_nothing_is_left_of_a_matrix_that_is_full() -> None:
    groups = (group("x", "1.mp4", "a"),)
    assert branches_left(groups, (NONE,), (FULL,), {("x", "a", "none/full")}) == ()


def test_a_benchmark_whose_data_are_wrong_is_named(tmp_path: Path) -> None:
    options = video_mme_example(tmp_path)
    (tmp_path / "data" / "bbbbbbbbbbb.mp4").unlink()
    config = RunConfig.model_validate(
        {
            "model": {"path": "demo"},
            "benchmarks": [
                {"name": "demo"},
                {"name": "video_mme", "label": "films", "options": options},
            ],
            "frames": {"policy": "uniform_inclusive", "num_frames": 8},
            "output": str(tmp_path / "results"),
        }
    )
    with pytest.raises(BenchmarkError, match=r"^benchmark 'films': .*bbbbbbbbbbb.mp4"):
        make_plan(config)
