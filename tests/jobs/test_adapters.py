"""Runs with adapters from the command line: a third list of variants, answered from one store."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer
from typer.testing import CliRunner

from encodeonce.harness.report.figures.curves import curves
from encodeonce.harness.run.read_config import load_config
from encodeonce.harness.workers.features import FeatureSource
from encodeonce.jobs.cli.app import app
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.adapting import BASE
from tests.jobs.scene import Scene, make_scene
from tests.models.adapters.made import factors, write

KV = ["full", {"method": "snapkv", "keep": 0.5}]
MODELS = ("none", "none+adapter-0", "none+adapter-1")
SAMPLES = [f"{clip}-{number}" for clip in range(3) for number in range(2)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


def adapters(folder: Path, count: int = 2, **fields: Any) -> list[str]:
    """Write adapters of the scene's language model."""
    layers = [f"model.language_model.layers.{number}" for number in range(2)]
    widths = {f"{layer}.self_attn.q_proj": (64, 64) for layer in layers}
    widths |= {f"{layer}.mlp.down_proj": (96, 64) for layer in layers}
    return [
        str(write(folder / f"adapter-{n}", factors(widths, 4, n, size=0.5), **fields))
        for n in range(count)
    ]


def bits(scene: Scene, output: Path | None = None) -> dict[tuple[str, str], str]:
    lines = scene.lines_of(output or scene.output, "records")
    found = {(line["variant"], line["sample"]): line["logits_sha256"] for line in lines}
    assert len(found) == len(lines)
    assert not [line["error"] for line in lines if line["error"]]
    return found


def test_every_adapter_answers_under_every_cache_from_features_read_once(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Any] = []
    fetch = FeatureSource.fetch

    def counting(self: FeatureSource, request: Any) -> Any:
        fetched.append(request)
        return fetch(self, request)

    monkeypatch.setattr(FeatureSource, "fetch", counting)
    paths = adapters(tmp_path)
    chosen = ["none", paths[0], {"path": paths[1], "label": "second"}]
    done = scene.execute("run", kv=KV, adapters=chosen, check_uncached=2)
    assert done.exit_code == 0, done.stderr
    assert "36 of 36 answered" in done.stdout
    models, caches = ("none", "none+adapter-0", "none+second"), ("full", "snapkv@0.5")
    names = [f"{model}/{kv}" for model in models for kv in caches]
    found = bits(scene)
    assert set(found) == {(name, sample) for name in names for sample in SAMPLES}
    assert len(fetched) == 3, "a clip's features are read once for all adapters"
    assert len({found[name, SAMPLES[0]] for name in names}) == len(names)

    plain = scene.folder / "plain"
    assert scene.execute("run", kv=KV, output=str(plain)).exit_code == 0
    base = {key: value for key, value in found.items() if "+" not in key[0]}
    assert bits(scene, plain) == base, "adapters beside it change no bit of the base"

    report = scene.report()["variants"]
    assert list(report["variants"]) == names
    cell = report["variants"]["none+second/snapkv@0.5"]["benchmarks"]["questions"]
    assert cell["fidelity_to"] == "none+second/full"
    assert set(cell["against"]) == {"none/full", "none/snapkv@0.5", "none+second/full"}
    assert report["weights"]["none"]["bytes_by_part"]["adapters"] > 0
    page = (scene.output / "report.md").read_text(encoding="utf-8")
    assert "original weights + second" in page and "without the adapter" in page
    charts = list(curves(scene.report(), "questions"))
    assert [chart.file.split(", ")[1].split(":")[0] for chart in charts] == list(models)
    for chart, model in zip(charts, models, strict=True):
        notes = [point.note for series in chart.series for point in series.points]
        assert all(f"({model}/" in note for note in notes), "a curve is one adapter's"


def test_adapters_are_added_to_a_finished_run_and_alone_give_the_same_bits(
    scene: Scene, tmp_path: Path
) -> None:
    paths = adapters(tmp_path)
    assert scene.execute("run").exit_code == 0
    assert scene.execute("run", adapters=["none", *paths]).exit_code == 0
    together = bits(scene)
    assert len(together) == 3 * len(SAMPLES)
    alone = scene.folder / "alone"
    assert scene.execute("run", adapters=paths[:1], output=str(alone)).exit_code == 0
    expected = {key: value for key, value in together.items() if "adapter-0" in key[0]}
    assert bits(scene, alone) == expected
    # Leaving them out again forgets nothing.
    assert scene.execute("run").exit_code == 0
    known = json.loads((scene.output / "run.json").read_text(encoding="utf-8"))["variants"]
    assert list(known["adapters"]) == ["none", "adapter-0", "adapter-1"]
    assert len(scene.report()["variants"]["variants"]) == 3
    sides = [f"{scene.output}:{model}/full" for model in ("none", "none+adapter-0")]
    done = CliRunner().invoke(app, ["compare", *sides])
    assert done.exit_code == 0, done.stderr


def test_another_adapter_of_the_same_name_is_refused(scene: Scene, tmp_path: Path) -> None:
    (path,) = adapters(tmp_path, 1)
    assert scene.execute("run", adapters=[path]).exit_code == 0
    (Path(path) / "README.md").write_text("a card", encoding="utf-8")
    again = scene.execute("run", adapters=[path])
    assert again.exit_code == 0 and "nothing was left to do" in again.stdout, "a card is no weight"
    adapters(tmp_path, 1, use_rslora=True)
    done = scene.execute("run", adapters=[path])
    assert done.exit_code == 1 and "another variant named 'adapter-0'" in done.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adapters": []}, "adapters"),
        ({"adapters": ["nowhere/at/all"]}, "neither a folder here nor a hub repository"),
        ({"adapters": ["none", "none"]}, "two variants are named 'none'"),
        ({"adapters": ["HERE/adapter-0", "HERE/adapter-0"]}, "two variants are named 'adapter-0'"),
        ({"adapters": [{"path": "a", "label": "x+y"}]}, "contains +"),
        ({"adapters": [{"path": "a", "scale": 2}]}, "scale"),
        (
            {"adapters": ["HERE/adapter-0"], "weights": [{"method": "none", "label": "a+b"}]},
            "label",
        ),
        ({"adapters": ["HERE/adapter-0"], "check_uncached": 2}, "add 'none' to weights and"),
        ({"adapters": ["HERE"]}, "has no adapter_config.json"),
    ],
)
def test_adapters_that_cannot_be_meant_are_refused_before_anything_is_decoded(
    scene: Scene, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    write(tmp_path / "adapter-0", factors({"model.layers.0.self_attn.q_proj": (64, 64)}))
    text = json.dumps(changes).replace("HERE", str(tmp_path))
    done = scene.execute("run", **json.loads(text))
    assert done.exit_code != 0 and words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (scene.output / "records.jsonl").exists()


def test_an_adapter_of_one_benchmark_answers_no_other(scene: Scene, tmp_path: Path) -> None:
    (benchmark,) = yaml.safe_load(scene.run_file().read_text())["benchmarks"]
    second = {**benchmark, "label": "second"}
    only, everywhere = adapters(tmp_path)
    limited = {"path": only, "benchmarks": ["second"]}
    done = scene.execute(
        "run", benchmarks=[benchmark, second], adapters=["none", limited, everywhere]
    )
    assert done.exit_code == 0, done.stderr
    found = {(line["variant"], line["benchmark"]) for line in scene.lines("records")}
    names = ("none/full", "none+adapter-1/full")
    both = {(name, title) for name in names for title in ("questions", "second")}
    assert found == both | {("none+adapter-0/full", "second")}
    wrong = {"path": only, "benchmarks": ["third"]}
    done = scene.execute("run", adapters=[wrong])
    assert done.exit_code == 1
    assert "'third', which the run lacks; it has questions" in " ".join(done.stderr.split())


def test_merged_adapters_take_turns_in_the_weights(scene: Scene, tmp_path: Path) -> None:
    """Answers are nearly those of adapters beside them, and the base keeps its bits."""
    (one, other), beside = adapters(tmp_path), scene.folder / "beside"
    chosen = ["none", one, other]
    assert scene.execute("run", kv=KV, adapters=chosen, output=str(beside)).exit_code == 0
    done = scene.execute("run", kv=KV, adapters=chosen, adapter_mode="merged")
    assert done.exit_code == 0, done.stderr
    expected, found = bits(scene, beside), bits(scene)
    assert found.keys() == expected.keys()
    assert all(found[key] == expected[key] for key in found if "+" not in key[0])
    assert any(found[key] != expected[key] for key in found)
    lines = [
        {(line["variant"], line["sample"]): line for line in scene.lines_of(output, "records")}
        for output in (beside, scene.output)
    ]
    for key, line in lines[0].items():
        first, second = (one[key]["first_logits"] for one in lines)
        assert second == pytest.approx(first, abs=1e-3), (key, line["text"])
    merging = [line["variant"] for line in scene.lines("records") if "merge" in line["seconds"]]
    assert len(merging) >= 3, "one in the weights after another, in every block"
    assert all("+" in name for name in merging), "the base pays for none of it"
    page = " ".join((scene.output / "report.md").read_text(encoding="utf-8").split())
    assert "Adding adapters to the weights took" in page and "for merging to pay" in page
    beside_page = (beside / "report.md").read_text(encoding="utf-8")
    assert "to the weights took" not in beside_page
    files = (scene.run_file(adapters=chosen, **more) for more in ({}, {"adapter_mode": "merged"}))
    fields = [load_config(path).answer_fields() for path in files]
    assert "adapter_mode" not in fields[0] and fields[1] == {**fields[0], "adapter_mode": "merged"}
    done = scene.execute("run", adapters=chosen, adapter_mode="merged", weights=["none", "rtn"])
    assert done.exit_code == 1 and "quantised again" in " ".join(done.stderr.split())


def test_activated_adapters_share_the_bases_prefix(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two adapters and the base, one prefill of each clip; answers are those of each alone."""
    tokenizer = AutoTokenizer.from_pretrained(scene.folder / "model")
    begins = {
        "alora_invocation_tokens": tokenizer("assistant:", add_special_tokens=False).input_ids
    }
    paths = adapters(tmp_path, **begins)
    prefilled: list[int] = []
    prefill = PrefixDecoder.prefill

    def counting(self: PrefixDecoder, *args: Any, adapter: int = BASE) -> Any:
        prefilled.append(adapter)
        return prefill(self, *args, adapter=adapter)

    monkeypatch.setattr(PrefixDecoder, "prefill", counting)
    done = scene.execute("run", kv=KV, adapters=["none", *paths])
    assert done.exit_code == 0, done.output
    assert prefilled == [BASE] * 3
    found = bits(scene)
    assert len({found[f"{model}/full", SAMPLES[0]] for model in MODELS}) == 3
    for path, model in zip(paths, MODELS[1:], strict=True):
        alone = tmp_path / f"alone-{model}"
        done = scene.execute("run", kv=KV, adapters=[path], output=str(alone))
        assert done.exit_code == 0, done.output
        expected = {key: value for key, value in found.items() if key[0].startswith(model + "/")}
        assert bits(scene, alone) == expected
    assert prefilled[3:] == [0] * 6


def test_a_prompt_that_does_not_invoke_an_adapter_is_its_own_error(
    scene: Scene, tmp_path: Path
) -> None:
    paths = adapters(tmp_path, 1, alora_invocation_tokens=[7, 7, 7])
    done = scene.execute("run", adapters=["none", *paths])
    assert done.exit_code == 1
    lines = scene.lines("records")
    errors = [line["error"] for line in lines if line["variant"] == "none+adapter-0/full"]
    assert {one["type"] for one in errors} == {"NotInvoked"}
    assert "its invocation, the tokens [7, 7, 7]" in errors[0]["message"]
    assert not [line for line in lines if line["variant"] == "none/full" and line["error"]]
