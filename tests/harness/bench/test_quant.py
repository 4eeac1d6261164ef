"""``bench quant``: what is measured, and that it is measured on the right thing."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.harness.bench.quant import QuantBench, closeness, run_quant_bench
from encodeonce.harness.bench.quant_report import sections, to_json
from encodeonce.harness.bench.result_file import result_json
from encodeonce.harness.bench.scene import SceneSpec
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.models.quantization.registry import WeightsError
from encodeonce.models.spec import ModelSpec, VisionSpec, WeightsSpec
from encodeonce.models.synthetic.vila import TINY, write_random_vila
from tests.fixtures.clips import write_clip
from tests.fixtures.tiny_models import write_tiny_llava


def bench(folder: Path, model: Path, *variants: Any) -> QuantBench:
    scene = SceneSpec(
        model=ModelSpec(path=str(model), dtype="bfloat16", device="cpu"),
        model_name="tiny",
        vision=VisionSpec(tap="projected"),
        media=write_clip(folder / "clip.mp4"),
        kind="video",
        frames=UniformInclusive(num_frames=2),
        folder=folder / "cache",
    )
    return QuantBench(
        scene=scene,
        question="What is shown?",
        variants=tuple(WeightsSpec.model_validate(one) for one in variants),
        num_runs=2,
        num_new_tokens=4,
    )


def test_a_vila_of_random_weights_is_quantised_and_measured(tmp_path: Path) -> None:
    model = write_random_vila(TINY, tmp_path / "model", torch.bfloat16, torch.device("cpu"))
    four_bits = {"method": "rtn", "options": {"group_size": 32, "kernel": "int4"}}
    asked = bench(tmp_path, model, "bnb-nf4", "awq", four_bits)
    steps: list[str] = []
    found = run_quant_bench(asked, steps.append)
    names = ["none", "bnb-nf4", "awq (made here)", "rtn(group_size=32,kernel=int4)"]
    assert [one.name for one in found] == names
    assert "quantising by AWQ" in steps
    for one in found:
        assert one.num_generated_tokens == 4  # it never ends an answer
        assert len(one.first_token_s) == len(one.tokens_per_s) == 2
        assert min(*one.first_token_s, *one.generate_s) > 0
        assert one.closeness.num_tokens == 4
    plain, nf4, awq, int4 = found
    assert plain.closeness.mean_kl == 0
    assert plain.closeness.num_agreeing == 4
    assert plain.same_answer
    assert min(one.closeness.mean_kl for one in (nf4, awq, int4)) > 0
    layers = [one.loaded.bytes_by_part["layers"] for one in found]
    assert layers[0] == layers[2]  # AWQ's weights are dense unless a kernel is asked for
    assert max(layers[1], layers[3]) < 0.45 * layers[0]
    page = to_markdown("bench", sections(found))
    assert all(name in page for name in names)
    written = json.loads(
        json.dumps(
            result_json(
                to_json(asked, found),
                when=datetime(2026, 11, 21, tzinfo=UTC),
                command=["encodeonce", "bench", "quant", "bnb-nf4", "--model", "/data/tiny"],
            )
        )
    )
    assert written["date"] == "2026-11-21T00:00:00+00:00"
    assert written["hardware"]["device"]
    assert written["versions"].keys() == {"python", "encodeonce", "torch", "transformers"}
    assert written["command"] == "encodeonce bench quant bnb-nf4 --model tiny"
    assert written["model"]["path"] == "tiny"
    assert len(written["variants"]) == 4


def test_all_variants_are_checked_before_anything_is_encoded(tmp_path: Path) -> None:
    model = write_tiny_llava(tmp_path / "model")
    asked = bench(tmp_path, model, "bnb-int8", "rtn")
    steps: list[str] = []
    with pytest.raises(WeightsError, match="no multiple of the group size 128"):
        run_quant_bench(asked, steps.append)
    assert not steps


def test_closeness_by_hand() -> None:
    expected = torch.tensor([[0.5, 0.5, 1e-9], [0.9, 0.05, 0.05]]).log()
    found = torch.tensor([[0.25, 0.75, 1e-9], [0.05, 0.9, 0.05]]).log()
    close = closeness(expected, found)
    first = 0.5 * torch.log(torch.tensor(2.0)) + 0.5 * torch.log(torch.tensor(2 / 3))
    second = 0.85 * torch.log(torch.tensor(18.0))
    assert close.first_token_kl == pytest.approx(float(first), abs=1e-6)
    assert close.mean_kl == pytest.approx(float(first + second) / 2, abs=1e-6)
    assert (close.num_agreeing, close.num_tokens) == (0, 2)
