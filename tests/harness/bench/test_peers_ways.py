"""The ways of ``bench peers`` that are ours and plain transformers', each in this process."""

import pytest

from encodeonce.datasets.refusals import checked
from encodeonce.harness.bench.peers.child import do
from encodeonce.harness.bench.peers.job import Done, Job
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.workers.precompute import PrecomputeWorker

NUM_FRAMES, NUM_QUESTIONS = 8, 4


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    folder = tmp_path_factory.mktemp("peers")
    content = {
        "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
        "benchmarks": [{"name": "demo"}],
        "limit": NUM_QUESTIONS,
        "frames": {"policy": "uniform_inclusive", "num_frames": NUM_FRAMES},
        "generation": {"max_new_tokens": 8},
        "cache": {"path": str(folder / "cache")},
        "output": str(folder / "out"),
    }
    config = checked(RunConfig, content)
    worker = PrecomputeWorker(config)
    for planned in make_plan(config).media():
        worker.do(planned)
    worker.close()
    job = Job(config=content, empty=str(folder / "empty"), connector=str(folder / "connector"))
    again = Job.read(job.write(folder / "job.json"))
    return {way: do(way, again) for way in ("plain", "cold", "warm")}


def test_all_give_the_same_answers(done: dict[str, Done]) -> None:
    assert len(done["plain"].texts) == NUM_QUESTIONS
    assert done["cold"].texts == done["warm"].texts == done["plain"].texts


def test_the_work_of_each_is_counted(done: dict[str, Done]) -> None:
    num_media = done["cold"].num_encoded // NUM_FRAMES
    assert 1 <= num_media < NUM_QUESTIONS
    assert done["plain"].num_encoded == NUM_QUESTIONS * NUM_FRAMES
    assert done["warm"].num_encoded == 0
    assert done["warm"].num_prefilled == done["cold"].num_prefilled
    assert done["plain"].num_prefilled is not None
    assert done["warm"].num_prefilled < 0.7 * done["plain"].num_prefilled
    for one in done.values():
        assert 0 < sum(one.stages.values()) < 1.1 * one.answer_s


def test_another_way_is_refused() -> None:
    config = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "out"}
    job = Job(config=config, empty="", connector="")
    with pytest.raises(ValueError, match="'warmest' is no way"):
        do("warmest", job)
