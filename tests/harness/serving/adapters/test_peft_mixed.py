"""peft's own loop by the clock, with peft itself: `make test-peft`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from encodeonce.harness.serving.adapters.costs import PEFT
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.adapters.shelf import AdapterShelf
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.language.adapting import BASE, using
from encodeonce.models.spec import VisionSpec
from tests.contracts.family import Model
from tests.contracts.family import Scene as Clip
from tests.jobs.cli.bench.test_serve_adapters import NUM_REQUESTS, bench, run_file
from tests.jobs.scene import make_scene
from tests.jobs.test_adapters import adapters

pytest.importorskip("peft", reason="peft is not installed: make test-peft")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

TEXT = "How many times is the 3 shown?"
ENDS = ["q_proj", "down_proj"]


def num_hooks(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def test_every_pass_is_pefts_and_none_leaves_hooks() -> None:
    """That of a prefix ends by an exception, after which peft alone would keep them."""
    model = Model(DEMO_CHECKPOINT, VisionSpec())
    decoder = model.decoder
    load = AdaptersLoad(number=3, random={"rank": 4})  # type: ignore[arg-type]
    shelf = AdapterShelf(load, TEXT)
    (note,) = shelf.check(decoder, [PEFT])
    assert "logits of peft's batches were" in note
    twin = shelf.on(decoder).begin(PEFT, merges=False)
    assert twin is not decoder and shelf.on(decoder).begin(PEFT, merges=False) is twin
    weights = {id(one) for one in decoder.model.parameters()}
    assert weights <= {id(one) for one in twin.model.parameters()}, "no weight is held twice"
    before, calls = num_hooks(twin.model), list[Any]()
    layer = twin.model.get_submodule("model.language_model.layers.0.self_attn.q_proj")
    usual = layer._mixed_batch_forward

    def noting(*arguments: Any, **options: Any) -> Any:
        calls.append(options["adapter_names"])
        return usual(*arguments, **options)

    layer._mixed_batch_forward = noting
    visuals = [model.visual(Clip("video", range(0, 9, 2), (64, 64), seed=1))]
    for number in (1, BASE, 2):
        ours, theirs = (one.prefill(visuals, adapter=number) for one in (decoder, twin))
        for mine, other in zip(ours.layers, theirs.layers, strict=True):
            torch.testing.assert_close(other.keys, mine.keys, rtol=1e-3, atol=1e-3)
    assert calls == [["1"], ["__base__"], ["2"]]
    assert num_hooks(twin.model) == before
    with torch.inference_mode(), using([2, BASE]):
        twin.model(input_ids=torch.arange(10, 16).reshape(2, 3))
    assert calls[-1] == ["2", "__base__"] and num_hooks(twin.model) == before
    shelf.close()


def test_answers_by_the_clock_are_the_offline_engines(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "scene", num_clips=2)
    folders = adapters(tmp_path, 3, target_modules=ENDS)
    load = {"number": 3, "folders": folders}
    path = run_file(scene, "peft", load, experiments=[{"name": "loop", "policy": "peft_mixed"}])
    done = bench(path)
    assert done.exit_code == 0, done.output
    (cell,) = json.loads((scene.folder / "peft" / "report.json").read_text())["cells"]
    assert cell["num_failed"] == 0
    assert cell["same_tokens"] == {"num_compared": NUM_REQUESTS, "num_same": NUM_REQUESTS}


def test_what_peft_passes_over_is_noticed(tmp_path: Path) -> None:
    """Of layers that target_modules leaves out, it reads the factors and does nothing."""
    folder = adapters(tmp_path, 1, target_modules=["q_proj"])
    scene = make_scene(tmp_path / "scene", num_clips=1)
    path = run_file(
        scene,
        "peft",
        {"number": 1, "folders": folder},
        experiments=[{"name": "loop", "policy": "peft_mixed"}],
    )
    done = bench(path)
    assert done.exit_code == 1
    assert "policy peft_mixed: peft's logits differ" in " ".join(done.output.split())
    assert issubclass(AdapterError, ValueError)
