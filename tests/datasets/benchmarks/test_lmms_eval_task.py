"""Task files of lmms-eval: what is data is read, what is code is refused and never run."""

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample
from tests.datasets.benchmarks.video_examples import (
    LMMS_ROWS,
    LMMS_TASK,
    lmms_eval_task_example,
    write_json,
    write_parquet,
)

EXACT = [{"metric": "exact_match", "ignore_case": True, "ignore_punctuation": True}]


def load(folder: Path, options: Mapping[str, Any] = {}, **fields: Any) -> Benchmark:
    """Return the example's benchmark with other options, and other fields in its task file."""
    return load_benchmark("lmms_eval_task", {**lmms_eval_task_example(folder, **fields), **options})


def samples(folder: Path, options: Mapping[str, Any] = {}, **fields: Any) -> list[Sample]:
    return list(load(folder, options, **fields).samples())


def test_rows_become_samples_under_lmms_evals_ids(tmp_path: Path) -> None:
    first, second = samples(tmp_path, {"tags": ["kind"]}, cluster_key="kind")
    assert first == Sample(
        id="0",
        media=(MediaRef(kind="video", path="clips/e.mp4"),),
        question="What moves?\nA. a dog\nB. a square",
        choices=("a dog", "a square"),
        target="B",
        group="object",
        tags={"kind": "object"},
    )
    assert (second.id, second.group) == ("1", "place")


def test_questions_on_the_same_media_are_one_group_by_default(tmp_path: Path) -> None:
    assert [sample.group for sample in samples(tmp_path)] == ["clips/e.mp4", "clips/f.mp4"]


@pytest.mark.parametrize(
    ("kwargs_of", "expected"),
    [
        ("default", "What moves?\nA. a dog\nB. a square\nAnswer with the letter."),
        ("other", "Look. What moves?\nA. a dog\nB. a square"),
        ("unheard_of", "What moves?\nA. a dog\nB. a square\nAnswer with the letter."),
    ],
)
def test_pre_and_post_prompts_stand_around_the_text(
    kwargs_of: str, expected: str, tmp_path: Path
) -> None:
    benchmark = load(tmp_path, {"kwargs_of": kwargs_of})
    assert benchmark.prompt(next(benchmark.samples())) == expected


def test_pre_and_post_prompts_may_be_of_no_model_in_particular(tmp_path: Path) -> None:
    flat = {"pre_prompt": "Q: ", "post_prompt": " A:"}
    benchmark = load(
        tmp_path, lmms_eval_specific_kwargs=flat, doc_to_text="question", description="Watch.\n"
    )
    assert benchmark.prompt(next(benchmark.samples())) == "Watch.\nQ: What moves? A:"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("question", "What moves?"),
        ("{{question}} {{ options[1] }}!", "What moves? a square!"),
        ("{{-question-}}", "What moves?"),
        ("Describe the video.", "Describe the video."),
    ],
)
def test_texts_are_columns_or_filled_with_them(
    template: str, expected: str, tmp_path: Path
) -> None:
    assert samples(tmp_path, doc_to_text=template)[0].question == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{question.strip()}}",
        "{% for o in options %}{{o}}{% endfor %}",
        "{{question|upper}}",
        "{{ [].__class__ }}",
        "{{ 7 * 7 }}",
    ],
)
def test_what_jinja_would_evaluate_is_refused(template: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"is not evaluated; allowed are {{column}} and"):
        samples(tmp_path, doc_to_text=template)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"doc_to_text": "{{title}}"}, "no column 'title'; there are: video, question, options"),
        ({"doc_to_visual": "image"}, "no column 'image'"),
        ({"doc_to_text": "{{options[7]}}"}, r"row 0 of its table: {{options\[7\]}}: column 'opt"),
        ({"doc_to_choice": "question"}, "expected 2 to 26 options, got 'What moves"),
        ({"doc_to_choice": ["only"]}, "expected 2 to 26 options"),
        ({"doc_to_target": "question"}, "neither a position from 0, nor one of the letters A, B"),
        ({"doc_to_target": 2}, r"\(2,\) is neither a position"),
        ({"doc_to_visual": "question"}, "expected the path of a video .*got 'What moves"),
        ({"doc_to_choice": None}, "metric 'acc' needs doc_to_choice"),
        ({"test_split": "train"}, "split 'train' cannot be loaded"),
        ({"test_split": None}, "neither test_split nor validation_split"),
        ({"generation_kwargs": {"do_sample": True}}, "ask for sampling"),
        ({"generation_kwargs": {"temperature": 0.7}}, "ask for sampling"),
        ({"dataset_kwargs": {}}, "needs dataset_kwargs: {data_files"),
        ({"dataset_kwargs": {"data_files": "q.json", "trust_remote_code": True}}, "nothing else"),
        (
            {"dataset_path": "lmms-lab/VideoThing"},
            "Nothing is downloaded: .*`hf download lmms-lab/VideoThing --repo-type dataset",
        ),
        ({"lmms_eval_specific_kwargs": {"default": "x"}}, "expected {pre_prompt"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    fields: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        benchmark = load(tmp_path, **fields)
        for sample in benchmark.samples():
            benchmark.prompt(sample)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"doc_to_texts": "x"}, "doc_to_texts: unknown key.*Did you mean 'doc_to_text'"),
        ({"output_type": "loglikelihood"}, "output_type: must be 'generate_until'"),
        ({"metric_list": [{"metric": "bleu"}]}, "metric: .*'exact_match' or 'acc'; got 'bleu'"),
        ({"metric_list": []}, "metric_list: "),
        ({"metric_list": [{"metric": "acc", "aggregation": "median"}]}, "aggregation: .*'mean'"),
        (
            {"metric_list": [{"metric": "exact_match", "regexes_to_ignore": ["("]}]},
            "is no regular expression",
        ),
        ({"num_fewshot": 4}, "num_fewshot: "),
        ({"filter_list": [{"name": "x"}]}, "filter_list: "),
    ],
)
def test_fields_that_would_change_the_score_are_not_passed_over(
    fields: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        samples(tmp_path, **fields)


def test_code_is_never_run_and_every_field_that_calls_it_is_named(tmp_path: Path) -> None:
    options = lmms_eval_task_example(tmp_path)
    (tmp_path / "utils.py").write_text("raise SystemExit('this was run')")
    (tmp_path / "task.yaml").write_text(
        "task: t\ndataset_path: json\ntest_split: test\n"
        "doc_to_visual: !function utils.visual\n"
        "doc_to_text: !function utils.text\ndoc_to_target: answer\n"
        "process_results: !function utils.results\n"
        "metric_list:\n  - metric: acc\n    aggregation: !function utils.mean\n"
    )
    with pytest.raises(BenchmarkError) as refusal:
        list(load_benchmark("lmms_eval_task", options).samples())
    message = str(refusal.value)
    for line in (
        "doc_to_visual: !function utils.visual. Allowed: the name of the column that holds paths",
        "doc_to_text: !function utils.text. Allowed: a column's name, or a text with {{column}}",
        "process_results: !function utils.results. Allowed: leave it out, and name a metric",
        "metric_list[0].aggregation: !function utils.mean. Allowed: a list of {metric: exact_match",
    ):
        assert line in message


@pytest.mark.parametrize(
    "text",
    [
        "task: !!python/object/apply:os.system ['touch ran']",
        "task: !!python/name:os.system",
        "task: !include other.yaml",
        "task: [",
        "- 1",
    ],
)
def test_other_tags_and_no_yaml_are_refused(text: str, tmp_path: Path) -> None:
    options = lmms_eval_task_example(tmp_path)
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(BenchmarkError, match="only !function is known|is a mapping of fields"):
        list(load_benchmark("lmms_eval_task", options).samples())
    assert not Path("ran").exists()


def test_a_task_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    options = {**lmms_eval_task_example(tmp_path), "file": tmp_path / "absent.yaml"}
    with pytest.raises(BenchmarkError, match=r"absent\.yaml cannot be read"):
        list(load_benchmark("lmms_eval_task", options).samples())


def test_included_files_are_filled_in_and_the_including_one_wins(tmp_path: Path) -> None:
    options = lmms_eval_task_example(tmp_path)
    (tmp_path / "task.yaml").rename(tmp_path / "_default_template_yaml")
    (tmp_path / "task.yaml").write_text("include: _default_template_yaml\ndoc_to_text: question\n")
    found = list(load_benchmark("lmms_eval_task", options).samples())
    assert found[0].question == "What moves?"


@pytest.mark.parametrize("written", ["5", "{a: b}", "[a.yaml, 5]", "null"])
def test_an_include_that_names_no_file_is_refused(tmp_path: Path, written: str) -> None:
    options = lmms_eval_task_example(tmp_path)
    (tmp_path / "task.yaml").write_text(f"include: {written}\n")
    with pytest.raises(BenchmarkError, match=r"task.yaml: include must be a file's name or a list"):
        list(load_benchmark("lmms_eval_task", options).samples())


def test_a_group_of_tasks_is_refused_with_the_names_of_its_members(tmp_path: Path) -> None:
    options = lmms_eval_task_example(tmp_path)
    (tmp_path / "task.yaml").write_text(
        "group: g\ntask: [first, {group: second, task: [x]}, {task: third}, fourth]\n"
    )
    with pytest.raises(
        BenchmarkError, match=r"group of tasks \(first, second, third, …\).* the file of one"
    ):
        list(load_benchmark("lmms_eval_task", options).samples())


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    options = lmms_eval_task_example(tmp_path)
    (tmp_path / "task.yaml").write_text("include: a.yaml\n")
    (tmp_path / "a.yaml").write_text("include: task.yaml\n")
    with pytest.raises(BenchmarkError, match="includes itself"):
        list(load_benchmark("lmms_eval_task", options).samples())


@pytest.mark.parametrize("form", ["parquet", "folder", "saved", "json lines", "csv"])
def test_other_tables_give_the_same_samples(form: str, tmp_path: Path) -> None:
    expected = samples(tmp_path)
    library = importlib.import_module("datasets")
    table = library.Dataset.from_list(LMMS_ROWS)
    options: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    if form == "parquet":
        write_parquet(tmp_path / "table.parquet", LMMS_ROWS)
        fields = {"dataset_path": "table.parquet", "dataset_kwargs": {}}
    elif form == "folder":
        write_parquet(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet", LMMS_ROWS)
        fields = {"dataset_path": "some/set", "dataset_kwargs": {"token": True}}
        options = {"dataset": tmp_path / "hub"}
    elif form == "saved":
        library.DatasetDict({"test": table}).save_to_disk(tmp_path / "saved")
        fields = {"dataset_path": "saved"}
    elif form == "csv":
        table.remove_columns("options").to_csv(tmp_path / "table.csv")
        options = {"dataset": tmp_path / "table.csv"}
        fields = {"doc_to_choice": ["a dog", "a square"], "doc_to_text": "question"}
        assert [s.question for s in samples(tmp_path, options, **fields)] == [
            row["question"] for row in LMMS_ROWS
        ]
        return
    else:
        table.to_json(tmp_path / "table.jsonl")
        fields = {"dataset_kwargs": {"data_files": "table.jsonl"}}
    assert samples(tmp_path, options, **fields) == expected


@pytest.mark.parametrize("is_list", [False, True])
def test_pictures_within_the_table_are_written_to_files(is_list: bool, tmp_path: Path) -> None:
    library = importlib.import_module("datasets")
    for name, colour in (("a.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    files = [str(tmp_path / name) for name in ("a.png", "b.jpg")]
    rows = [{**LMMS_ROWS[0], "image": files if is_list else file} for file in files]
    feature = library.List(library.Image()) if is_list else library.Image()
    table = library.Dataset.from_list(rows).cast_column("image", feature)
    table.to_parquet(tmp_path / "table.parquet")
    options = {"dataset": tmp_path / "table.parquet"}
    first, second = samples(tmp_path, options, doc_to_visual="image")
    assert len(first.media) == (2 if is_list else 1)
    with Image.open(tmp_path / first.media[0].path) as image:
        assert (image.format, image.getpixel((0, 0))) == ("PNG", (255, 0, 0))
    assert second.media[-1].kind == "image"
    assert (tmp_path / second.media[-1].path).read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert samples(tmp_path, options, doc_to_visual="image") == [first, second]


def test_what_is_no_picture_within_the_table_is_refused(tmp_path: Path) -> None:
    library = importlib.import_module("datasets")
    rows = [{**LMMS_ROWS[0], "image": {"bytes": b"no picture", "path": None}}]
    table = library.Dataset.from_list(rows).cast_column("image", library.Image())
    table.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(
        BenchmarkError, match="row 0 of its table: column 'image': .* of no known format"
    ):
        samples(tmp_path, {"dataset": tmp_path / "table.parquet"}, doc_to_visual="image")


def test_media_may_be_several_and_of_both_kinds(tmp_path: Path) -> None:
    options = lmms_eval_task_example(tmp_path, doc_to_visual=["frames", "video"])
    Image.new("RGB", (8, 8)).save(tmp_path / "a.PNG")
    write_json(tmp_path / "questions.json", [{**LMMS_ROWS[0], "frames": ["a.PNG", "a.PNG"]}])
    (sample,) = load_benchmark("lmms_eval_task", options).samples()
    assert [(ref.kind, ref.path) for ref in sample.media] == [
        ("image", "a.PNG"),
        ("image", "a.PNG"),
        ("video", "clips/e.mp4"),
    ]


def test_missing_media_are_counted(tmp_path: Path) -> None:
    options = lmms_eval_task_example(tmp_path)
    (tmp_path / "clips" / "f.mp4").unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 2 media files are not in .*: clips/f\.mp4"):
        list(load_benchmark("lmms_eval_task", options).samples())


@pytest.mark.parametrize(
    ("label", "target"), [(0, "A"), ("1", "B"), ("B", "B"), ("a dog", "A"), ([1], "B")]
)
def test_an_option_is_a_position_a_letter_or_its_text(
    label: Any, target: str, tmp_path: Path
) -> None:
    options = lmms_eval_task_example(tmp_path)
    write_json(tmp_path / "questions.json", [{**LMMS_ROWS[0], "label": label}])
    (sample,) = load_benchmark("lmms_eval_task", options).samples()
    assert sample.target == target


def test_exact_match_of_options_is_that_of_their_texts(tmp_path: Path) -> None:
    benchmark = load(tmp_path, metric_list=EXACT)
    first = next(benchmark.samples())
    assert first.target == "a square"
    assert benchmark.score(first, " A square.\n").value == 1.0
    assert benchmark.score(first, "B").value == 0.0


def test_one_of_several_right_answers_is_enough(tmp_path: Path) -> None:
    options = lmms_eval_task_example(tmp_path, metric_list=EXACT, doc_to_choice=None)
    write_json(tmp_path / "questions.json", [{**LMMS_ROWS[0], "label": ["square", "box"]}])
    benchmark = load_benchmark("lmms_eval_task", options)
    (sample,) = benchmark.samples()
    assert (sample.target, sample.references) == ("square", ("square", "box"))
    assert benchmark.score(sample, "Box!").value == 1.0
    assert benchmark.score(sample, "boxes").value == 0.0
    assert benchmark.score(sample, "").value == 0.0


def test_of_several_metrics_one_is_chosen(tmp_path: Path) -> None:
    both = [*LMMS_TASK["metric_list"], *EXACT]
    with pytest.raises(BenchmarkError, match="lists acc, exact_match; write one of them, got None"):
        samples(tmp_path, metric_list=both)
    first, _ = samples(tmp_path, {"metric": "exact_match"}, metric_list=both)
    assert first.target == "a square"
    with pytest.raises(BenchmarkError, match="got 'bleu'"):
        samples(tmp_path, {"metric": "bleu"})


def test_the_length_of_answers_is_left_to_the_run_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        samples(tmp_path, generation_kwargs={"max_new_tokens": 16, "do_sample": False})
    assert "generation: {max_new_tokens: 16}" in caplog.text
