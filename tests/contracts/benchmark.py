"""The contract of every benchmark. Inherit `BenchmarkContract` and give a `benchmark` fixture."""

import math
from pathlib import PurePath

import pytest

from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.sample import Benchmark, Exporting, Gridded, Sample, Scored, Summarising


class BenchmarkContract:
    """The suite."""

    @pytest.fixture
    def benchmark(self) -> Benchmark:
        """The benchmark under test, its data in place."""
        raise NotImplementedError

    @pytest.fixture
    def samples(self, benchmark: Benchmark) -> list[Sample]:
        return list(benchmark.samples())

    def test_it_says_what_it_is_and_where_its_data_come_from(self, benchmark: Benchmark) -> None:
        about = benchmark.about
        assert about.media in ("images", "videos", "both")
        for text in (about.title, about.source, about.download):
            assert text.strip() == text != ""
        assert len(about.title) <= 100  # two lines of the table in a terminal of 80 columns

    def test_there_are_samples_and_their_ids_are_unique(self, samples: list[Sample]) -> None:
        assert samples
        assert len({sample.id for sample in samples}) == len(samples)

    def test_the_order_is_always_the_same(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        assert list(benchmark.samples()) == samples

    def test_every_sample_has_media_a_question_a_target_and_a_group(
        self, samples: list[Sample]
    ) -> None:
        for sample in samples:
            assert sample.media
            assert sample.question.strip()
            assert sample.target.strip()
            assert sample.group

    def test_media_are_files_within_the_root(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        library = MediaLibrary(benchmark.media_root, Ledger(None))
        for ref in {ref for sample in samples for ref in sample.media}:
            assert not PurePath(ref.path).is_absolute()
            assert library.resolve(ref).kind == ref.kind

    def test_samples_with_the_same_media_are_of_one_group(self, samples: list[Sample]) -> None:
        groups = {(sample.media, sample.group) for sample in samples}
        assert len(groups) == len({media for media, _ in groups})

    def test_the_target_scores_one_and_an_empty_answer_zero(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        for sample in samples:
            right = benchmark.score(sample, sample.target).value
            assert right == pytest.approx(1.0), sample  # one ROUGE-L adds 1e-8 to a denominator
            empty = benchmark.score(sample, "")
            assert (empty.value, empty.extracted) == (0.0, None), sample

    def test_every_other_option_scores_zero(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        for sample in samples:
            for position in range(len(sample.choices)):
                letter = chr(ord("A") + position)
                right = letter == sample.target
                assert benchmark.score(sample, letter).value == float(right), sample

    def test_a_prompt_holds_the_question_and_its_options_and_no_answer(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        for sample in samples:
            prompt = benchmark.prompt(sample)
            assert sample.question in prompt
            for choice in sample.choices:
                assert choice in prompt
            if not sample.choices:
                assert sample.target not in prompt.replace(sample.question, "")

    def test_a_prompt_does_not_depend_on_which_option_is_right(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        for sample in samples:
            other = Sample(
                id=sample.id,
                media=sample.media,
                question=sample.question,
                choices=sample.choices,
                target="A" if sample.choices else "another answer",
                group=sample.group,
                tags=sample.tags,
            )
            assert benchmark.prompt(other) == benchmark.prompt(sample)

    def test_figures_of_its_own_do_not_depend_on_the_order_of_answers(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        if not isinstance(benchmark, Summarising):
            pytest.skip("the mean score is all that it publishes")
        assert benchmark.measure
        for text in ("", "A", samples[0].target):
            answers = [answered(benchmark, sample, text) for sample in samples]
            figures = benchmark.summarise(answers)
            assert benchmark.summarise(answers[::-1]) == pytest.approx(figures)
            assert all(map(math.isfinite, figures.values()))

    def test_a_grid_is_of_tags_that_every_sample_has(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        if not isinstance(benchmark, Gridded):
            pytest.skip("its scores are not read by two tags at once")
        rows, columns = benchmark.grid
        assert rows != columns
        assert all({rows, columns} <= set(sample.tags) for sample in samples)

    def test_files_for_the_official_evaluator_hold_every_answer(
        self, benchmark: Benchmark, samples: list[Sample]
    ) -> None:
        if not isinstance(benchmark, Exporting):
            pytest.skip("there is no evaluator that takes files")
        files = benchmark.official_files([answered(benchmark, s, "an ans\twer") for s in samples])
        assert sum(text.count("an ans") for text in files.values()) == len(samples)
        for name in files:
            assert PurePath(name).name == name


def answered(benchmark: Benchmark, sample: Sample, answer: str) -> Scored:
    """Return an answer as a run's records keep it."""
    value = benchmark.score(sample, answer).value
    assert value is not None
    return Scored(
        sample=sample.id,
        group=sample.group,
        tags=sample.tags,
        question=sample.question,
        target=sample.target,
        text=answer,
        value=value,
    )
