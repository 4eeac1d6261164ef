"""LLaVA's conversations: descriptions, and every turn of a conversation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample, Summarising
from tests.contracts.benchmark import answered
from tests.datasets.benchmarks.image_layouts import (
    CONVERSATIONS,
    DESCRIPTIONS,
    conversations,
    llava_description,
    llava_instruct,
    said,
)


def load(name: str, folder: Path, entries: Sequence[Any], **options: Any) -> Benchmark:
    return load_benchmark(name, {**conversations(folder, entries), **options})


def test_a_description_is_the_target_of_its_instruction(tmp_path: Path) -> None:
    benchmark = load_benchmark("llava_description", llava_description(tmp_path))
    first, second = benchmark.samples()
    assert (first.id, first.question, first.target) == (
        "1", "What do you see?", "A green square. Nothing else.",
    )  # fmt: skip
    assert benchmark.prompt(second) == "Describe it."
    assert second.media[0].path == "gqa/images/2.png"


def test_descriptions_are_scored_by_both_values_of_rouge(tmp_path: Path) -> None:
    benchmark = load_benchmark("llava_description", llava_description(tmp_path))
    assert isinstance(benchmark, Summarising)
    assert benchmark.measure == "ROUGE-L"
    first, second = benchmark.samples()
    # 2 of 2 tokens predicted and 2 of 5 referred to: 4 / 7.
    half = answered(benchmark, first, "green square")
    assert half.value == pytest.approx(4 / 7)
    # For the package: {green, square} of 2 and 5 distinct words, and the same text.
    figures = benchmark.summarise([half, answered(benchmark, second, second.target)])
    assert figures == {"ROUGE-L of the package rouge, of 100": pytest.approx(100 * (4 / 7 + 1) / 2)}


def instruct(folder: Path, **options: Any) -> tuple[Benchmark, list[Sample]]:
    benchmark = load_benchmark("llava_instruct", {**llava_instruct(folder), **options})
    return benchmark, list(benchmark.samples())


def test_every_human_turn_is_a_sample_after_a_transcript(tmp_path: Path) -> None:
    benchmark, samples = instruct(tmp_path)
    # The second conversation is about no image; the third has the first one's id.
    assert [sample.id for sample in samples] == ["0/1/0", "0/1/1", "2/1/0"]
    assert [sample.target for sample in samples] == ["Green.", "Not at all.", "A square."]
    assert [sample.tags["turn"] for sample in samples] == ["first", "later", "first"]
    assert benchmark.prompt(samples[0]) == "What colour?"
    assert (
        benchmark.prompt(samples[1]) == "USER: What colour?\nASSISTANT: Green.\nUSER: Is it round?"
    )
    assert samples[0].group == samples[1].group


def test_earlier_turns_may_be_omitted_and_images_chosen(tmp_path: Path) -> None:
    _, samples = instruct(tmp_path, earlier_turns="omit")
    assert [sample.question for sample in samples] == [
        "What colour?",
        "Is it round?",
        "Which form?",
    ]
    options = llava_instruct(tmp_path)
    (tmp_path / "data" / "coco" / "train2017" / "1.png").unlink()
    with pytest.raises(BenchmarkError, match="1 of 2 media files"):
        list(load_benchmark("llava_instruct", options).samples())
    (sample,) = load_benchmark("llava_instruct", {**options, "image_prefix": "gqa/"}).samples()
    assert sample.id == "2/1/0"


WRONG: dict[str, tuple[Any, str]] = {
    "two humans": (
        {"conversations": [*said("<image> a"), *said("b")]},
        "expected turns of human and gpt, one after the other; got human, human",
    ),
    "no reply": ({"conversations": said("<image> a", "b", "c")}, ".*got human, gpt, human"),
    "another speaker": (
        {"conversations": [{"from": "system", "value": "x"}] * 2},
        ".*'human' or 'gpt'",
    ),
    "no mark": ({"conversations": said("a", "b")}, "0 times <image> for 1 images"),
    "two marks": ({"conversations": said("<image> a <image>", "b")}, "2 times <image> for 1"),
    "an empty target": ({"conversations": said("<image>a", " ")}, "turn 2 says nothing"),
    "an empty question": ({"conversations": said("<image>", "b")}, "turn 1 says nothing"),
    "one turn": ({"conversations": said("<image>a")}, "conversations: .*at least 2 entries"),
    "no id": ({"id": None}, "id"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", ["llava_description", "llava_instruct"])
def test_a_wrong_entry_is_refused_with_its_place(case: str, name: str, tmp_path: Path) -> None:
    entry, message = WRONG[case]
    entries = [DESCRIPTIONS[0], {**DESCRIPTIONS[1], **entry}]
    with pytest.raises(BenchmarkError, match=rf"llava\.json, entry 2: {message}"):
        list(load(name, tmp_path, entries).samples())


def test_a_description_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="entry 3: the id '1' is taken already, by .*entry 1"):
        list(load("llava_description", tmp_path, [*DESCRIPTIONS, DESCRIPTIONS[0]]).samples())


def test_a_description_without_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="entry 1: there is no image"):
        list(load("llava_description", tmp_path, [CONVERSATIONS[1]]).samples())


def test_a_file_about_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="none of 1 conversations is about an image$"):
        list(load("llava_instruct", tmp_path, [CONVERSATIONS[1]]).samples())
    with pytest.raises(BenchmarkError, match="whose path begins with 'vg/'"):
        list(load("llava_instruct", tmp_path, CONVERSATIONS, image_prefix="vg/").samples())


def test_missing_and_half_downloaded_data_are_refused(tmp_path: Path) -> None:
    options = llava_description(tmp_path)
    file: Path = options["file"]
    text = file.read_text()
    (tmp_path / "data" / "gqa" / "images" / "2.png").unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 2 media files .*\. Download detail_1k\.json"):
        list(load_benchmark("llava_description", options).samples())
    file.write_text(text[:-10])
    with pytest.raises(BenchmarkError, match="cannot be read as JSON"):
        list(load_benchmark("llava_description", options).samples())
    file.unlink()
    with pytest.raises(BenchmarkError, match=r"is not there\. Download detail_1k\.json"):
        list(load_benchmark("llava_description", options).samples())
