"""Training adapters of the demo model: what follows from the run file, and what may end it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from encodeonce.datasets.benchmarks import demo
from encodeonce.datasets.media.media import MediaError
from encodeonce.harness.report.adapter_page import write_adapter_report
from encodeonce.harness.run.config import ConfigError
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.training.adapter.config import TrainAdapterConfig
from encodeonce.harness.training.adapter.train import Trained, read_facts, train_adapter
from encodeonce.harness.training.folder import TrainingFolderError
from encodeonce.harness.training.ranks import Ranks
from encodeonce.jobs.cli.app import app
from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.adapters.heads import read_head
from encodeonce.models.adapters.spec import AdapterSpec
from tests.models.adapters.made import factors, write

CLIPS = Path(demo.__file__).parents[1] / "demo" / "clips"
RUN: Mapping[str, Any] = {
    "model": {"path": "demo", "dtype": "float32"},
    "benchmarks": [{"name": "demo", "options": {"split": "train"}}],
    "generation": {"max_new_tokens": 4},
    "lora": {"r": 4, "dropout": 0.1},
    "data": {"questions_per_prefix": 3},
    "optim": {"max_steps": 4, "warmup_steps": 1, "prefixes_per_step": 2},
    "validation": {"every_steps": 2, "samples": 3},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def config(cache: Path, output: Path, **changes: Any) -> TrainAdapterConfig:
    content = {**RUN, "cache": {"path": str(cache)}, "output": str(output)}
    for section, fields in changes.items():
        is_section = isinstance(fields, Mapping)
        content[section] = {**content.get(section, {}), **fields} if is_section else fields
    path = output.parent / f"{output.name}.yaml"
    path.write_text(json.dumps(content))
    return load_run_file(path, TrainAdapterConfig)


def quiet(done: int, total: int, words: str) -> None:
    pass


def train(cache: Path, output: Path, **changes: Any) -> Trained:
    return train_adapter(config(cache, output, **changes), Ranks(), quiet)


def asked(folder: Path, name: str, rows: list[tuple[int, str]], **more: Any) -> dict[str, Any]:
    """Write questions about training clips, by their numbers, with answers; return a benchmark."""
    lines = [
        {"id": str(n), "video": f"train-{clip:02}.mp4", "question": "Say it.", "answer": answer}
        for n, (clip, answer) in enumerate(rows)
    ]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = {"file": str(path), "media_root": str(more.pop("media_root", CLIPS))}
    return {"name": "questions", "label": name, "options": options, **more}


def test_a_killed_training_goes_on_with_the_same_bits(cache: Path, tmp_path: Path) -> None:
    train(cache, tmp_path / "whole")

    def killed(done: int, total: int, words: str) -> None:
        assert words.startswith("loss ")
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(config(cache, tmp_path / "killed"), Ranks(), killed)
    assert not (tmp_path / "killed" / "adapter_model.safetensors").exists()
    trained = train(cache, tmp_path / "killed")
    for name in ("adapter_model.safetensors", "checkpoints/step-0000004/optimizer.safetensors"):
        one, other = load_file(tmp_path / "whole" / name), load_file(tmp_path / "killed" / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert [entry["step"] for entry in trained.state.history] == [2, 4]
    said: list[int] = []
    train_adapter(config(cache, tmp_path / "killed"), Ranks(), lambda n, *_: said.append(n))
    assert not said


def test_what_came_of_it_is_an_adapter_with_a_card_and_a_report(
    cache: Path, tmp_path: Path
) -> None:
    trained = train(cache, tmp_path / "t")
    adapter = read_adapter(AdapterSpec(path=str(tmp_path / "t")))
    assert len(adapter.products) == 35 and {one.rank for one in adapter.products.values()} == {4}
    card = (tmp_path / "t" / "README.md").read_text()
    facts = read_facts(tmp_path / "t")
    assert facts == trained.facts and facts["checkpoint_sha256"] in card
    accuracy = 100 * facts["base"]["demo"]["accuracy"]
    assert f"| demo | {accuracy:.1f} % |" in card
    page = write_adapter_report(tmp_path / "t", facts, trained.state)
    assert f"{accuracy:.1f} %" in page.read_text()


def test_it_learns_labels_in_place_of_targets(cache: Path, tmp_path: Path) -> None:
    """The file says 5 wherever the targets say 1; one sample has no label."""
    rows = [(clip, "1") for clip in range(4)]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(f'{{"id": "{n}", "answer": "5"}}\n' for n in range(3)))
    trained = train(
        cache,
        tmp_path / "t",
        benchmarks=[asked(tmp_path, "said", rows)],
        data={"labels": str(labels), "held_out": 0.3},
        lora={"dropout": 0.0},
        optim={"max_steps": 30, "lr": 5e-3},
        validation={"every_steps": 30},
    )
    assert trained.facts["num_questions"]["said"] in (2, 3)
    assert trained.state.history[-1]["loss"] < 1.5  # the mean, from about 6 nats on
    assert trained.facts["held_out"]["said"]["accuracy"] == 0.0  # the benchmark wants a 1
    assert trained.facts["held_out"]["said"]["loss"] > 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "line 1: a label is"),
        ('{"id": "0"}', "line 1: 'id' and 'answer' must be texts"),
        ('{"id": "0", "answer": "5", "benchmark": "x"}', "must be one of said; got 'x'"),
        ('{"id": "0", "answer": "5"}\n' * 2, "line 2: a second label of '0'"),
        ('{"id": "77", "answer": "5"}', "nothing is learnt from 'said': data.labels:"),
    ],
)
def test_wrong_labels_are_refused(cache: Path, tmp_path: Path, text: str, words: str) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text(text)
    with pytest.raises(ValueError, match=words):
        train(
            cache,
            tmp_path / "t",
            benchmarks=[asked(tmp_path, "said", [(n, "1") for n in range(3)])],
            data={"labels": str(labels)},
        )


def test_a_question_without_an_answer_is_refused_by_its_line(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'said': .*said\.jsonl, line 2: column 'answer': must have"
    ):
        train(cache, tmp_path / "t", benchmarks=[asked(tmp_path, "said", [(0, "1"), (1, "")])])


def test_it_is_judged_by_other_media_alone(cache: Path, tmp_path: Path) -> None:
    """Whatever the files are called: it is their content that counts."""
    training = [asked(tmp_path, "one", [(0, "1"), (1, "2")])]
    (tmp_path / "train-02.mp4").write_bytes((CLIPS / "train-00.mp4").read_bytes())
    copy = asked(tmp_path, "copied", [(2, "3")], media_root=tmp_path)
    with pytest.raises(ValueError, match=r"'copied': train-02.mp4 .* of 'one': train-00.mp4"):
        train(cache, tmp_path / "t", benchmarks=training, check=[copy])
    trained = train(
        cache,
        tmp_path / "t",
        benchmarks=training,
        check=[asked(tmp_path, "other", [(3, "1")])],
        optim={"max_steps": 1},
    )
    assert list(trained.facts["held_out"]) == ["other"]
    assert trained.facts["num_media"] == {"training": 2, "held_out": 1}


def test_media_that_cannot_be_decoded_are_left_out(cache: Path, tmp_path: Path) -> None:
    """In either part; where nothing of a benchmark is left, that is said."""
    for number in range(6):
        content = (CLIPS / f"train-{number:02}.mp4").read_bytes()
        damaged = f"no video {number}".encode()
        path = tmp_path / f"train-{number:02}.mp4"
        path.write_bytes(content if number % 2 else damaged)
    learnt = asked(tmp_path, "learnt", [(n, "1") for n in range(4)], media_root=tmp_path)
    judged = asked(tmp_path, "judged", [(4, "1"), (5, "1")], media_root=tmp_path)
    few = {"max_steps": 3, "prefixes_per_step": 1}
    trained = train(cache, tmp_path / "t", benchmarks=[learnt], check=[judged], optim=few)
    assert trained.state.step == 3 and "judged" in trained.facts["held_out"]
    lost = asked(tmp_path, "lost", [(4, "1")], media_root=tmp_path)
    with pytest.raises(MediaError):
        train(cache, tmp_path / "u", benchmarks=[learnt], check=[lost], optim=few)


def test_another_recipe_or_beginning_is_refused(cache: Path, tmp_path: Path) -> None:
    few = {"max_steps": 1}
    train(cache, tmp_path / "one", optim=few)
    with pytest.raises(TrainingFolderError, match=r"differs in: lora.alpha, optim.lr\."):
        train(cache, tmp_path / "one", optim={**few, "lr": 1e-4}, lora={"alpha": 3})
    begin = {"init_from": str(tmp_path / "one")}
    train(cache, tmp_path / "two", optim={**few, "lr": 1e-12}, lora=begin)
    one = load_file(tmp_path / "one" / "adapter_model.safetensors")
    two = load_file(tmp_path / "two" / "adapter_model.safetensors")
    assert all(torch.allclose(one[name], two[name], atol=1e-9) for name in one)
    train(cache, tmp_path / "other", optim={**few, "seed": 1})
    with pytest.raises(TrainingFolderError, match=r"differs in: lora.init_from"):
        other = {"init_from": str(tmp_path / "other")}
        train(cache, tmp_path / "two", optim={**few, "lr": 1e-12}, lora=other)
    with pytest.raises(ValueError, match="cannot be begun with"):
        train(cache, tmp_path / "three", lora={**begin, "r": 2})


def test_patience_ends_it_and_the_best_is_kept(cache: Path, tmp_path: Path) -> None:
    trained = train(
        cache,
        tmp_path / "t",
        stop={"metric": "accuracy", "patience": 2},
        optim={"lr": 0.3, "max_steps": 50},
        validation={"every_steps": 1},
    )
    state = trained.state
    assert state.step == state.best_step + 2 < 50


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora": {"r": 0}}, r"lora.r: must be at least 1"),
        ({"lora": {"alpha": 0}}, r"lora.alpha: must be above 0"),
        ({"lora": {"target_modules": "all-linear"}}, r"lora.target_modules"),
        ({"optim": {"lr": 0}}, r"optim.lr: must be above 0"),
        ({"benchmarks": [{"name": "demo", "scoring": "nll"}]}, "learns to write answers"),
        ({"data": {"labels": 3}}, r"data.labels"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    cache: Path, tmp_path: Path, changes: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        config(cache, tmp_path / "t", **changes)


def test_modules_that_are_not_there_are_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'c_attn' is none of .* q_proj"):
        train(cache, tmp_path / "t", lora={"target_modules": ["c_attn"]})


def test_processes_share_a_steps_lessons(cache: Path, tmp_path: Path) -> None:
    ranks = Ranks()
    ranks.world = 3
    with pytest.raises(ValueError, match=r"prefixes_per_step: 3 processes .* got 2"):
        train_adapter(config(cache, tmp_path / "t"), ranks, quiet)


HEAD = {"classes": ["1", "2"]}


def test_a_head_is_trained_and_answers_in_a_run(cache: Path, tmp_path: Path) -> None:
    """In one pass: beside it, the same adapter writes its answers."""
    rows = [(clip, str(1 + clip % 2)) for clip in range(6)]
    learnt = asked(tmp_path, "said", rows)
    output = tmp_path / "t"
    trained = train(
        cache,
        output,
        benchmarks=[learnt],
        head=HEAD,
        data={"held_out": 0.3},
        optim={"max_steps": 4, "lr": 1e-2},
    )
    assert 0 < trained.facts["held_out"]["said"]["loss"] < 3
    head = read_head(output)
    assert head is not None and head.classes == ("1", "2")

    def killed(done: int, total: int, words: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    same = {"benchmarks": [learnt], "head": HEAD, "data": {"held_out": 0.3}}
    again = config(cache, tmp_path / "again", **same, optim={"max_steps": 4, "lr": 1e-2})
    with pytest.raises(KeyboardInterrupt):
        train_adapter(again, Ranks(), killed)
    train_adapter(again, Ranks(), quiet)
    other = read_head(tmp_path / "again")
    assert other is not None and torch.equal(head.weight, other.weight)

    run = {
        "model": RUN["model"],
        "benchmarks": [{**learnt, "label": "head", "scoring": "head"}, learnt],
        "adapters": [str(output)],
        "kv": ["full", {"method": "snapkv", "keep": 0.5, "scope": "media"}],
        "generation": {"max_new_tokens": 2},
        "cache": {"path": str(cache)},
        "workers": {"executor": "local"},
        "output": str(tmp_path / "run"),
    }
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(run))
    done = CliRunner().invoke(app, ["run", str(path)])
    assert done.exit_code == 0, done.stderr
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    ]
    found = [line for line in lines if line["benchmark"] == "head"]
    assert len(found) == 12 and {line["text"] for line in found} <= {"1", "2"}
    for line in found:
        assert set(line["log_probs"]) == {"1", "2"} and line["num_generated_tokens"] == 0
        assert line["text"] == max(line["log_probs"], key=line["log_probs"].__getitem__)
        assert line["score"] == (line["text"] == rows[int(line["sample"])][1])
    for changes, words in (
        ({"adapters": ["none", str(output)]}, "'none' has none"),
        ({"kv": [{"method": "snapkv", "keep": 0.5}]}, "Write scope: media"),
        ({"output": str(tmp_path / "no"), "adapters": [no_head(tmp_path)]}, "has none. Train it"),
    ):
        path.write_text(json.dumps({**run, **changes}))
        done = CliRunner().invoke(app, ["run", str(path)])
        assert done.exit_code == 1 and words in " ".join(done.stderr.split()), done.stderr


def no_head(folder: Path) -> str:
    widths = {"model.language_model.layers.0.self_attn.q_proj": (256, 256)}
    return str(write(folder / "no-head", factors(widths, 4)))


def test_classes_that_are_missing_are_named(cache: Path, tmp_path: Path) -> None:
    learnt = asked(tmp_path, "said", [(0, "1"), (1, "7"), (2, "8"), (3, "9")])
    with pytest.raises(ValueError, match=r"head.classes lacks answers .* it has 1, 2"):
        train(cache, tmp_path / "t", benchmarks=[learnt], head=HEAD)
    with pytest.raises(ConfigError, match="'1' is there twice"):
        config(cache, tmp_path / "t", head={"classes": ["1", "1"]})
