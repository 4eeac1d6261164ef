"""Weight variants: what a user may write, what is refused before loading, what is loaded."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaConfig, Qwen2Config

from encodeonce.models.checkpoint.decoder_layers import decoder_layers
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT, CheckpointError
from encodeonce.models.family import find_family
from encodeonce.models.quantization.method import check_weights
from encodeonce.models.quantization.registry import WeightsError
from encodeonce.models.spec import NONE, VisionSpec, WeightsSpec
from tests.asking import answered
from tests.contracts.family import QUESTIONS, SHORT, Model, Scene, digests_of
from tests.fixtures.tiny_models import write_tiny_llava
from tests.models.quantization.making import make, spec

VIDEO = Scene("video", frames=(0, 2, 4, 5))
ON_CPU: dict[str, Any] = {
    "none": "none",
    "bnb-int8": "bnb-int8",
    "bnb-nf4": "bnb-nf4",
    "bnb-nf4, double": {"method": "bnb-nf4", "options": {"double_quant": True}},
    "bnb-fp4": "bnb-fp4",
    "torchao-int8": "torchao-int8",
    "torchao-fp8": "torchao-fp8",
    "rtn": {"method": "rtn", "options": {"group_size": 32}},
    "rtn, 8 bits": {"method": "rtn", "options": {"group_size": 32, "num_bits": 8}},
    "awq": {"method": "awq", "path": "AWQ"},
}
FOUR_BITS = ("bnb-nf4", "bnb-nf4, double", "bnb-fp4")
BITS = {"bnb-int8": 8, "torchao-int8": 8, "torchao-fp8": 8, **dict.fromkeys(FOUR_BITS, 4)}


def write_demo(folder: Path) -> Path:
    return DEMO_CHECKPOINT


def write_llama(folder: Path) -> Path:
    return write_tiny_llava(folder, text_class=LlamaConfig, intermediate_size=128)


def write_qwen2(folder: Path) -> Path:
    return write_tiny_llava(folder, text_class=Qwen2Config, intermediate_size=128)


@pytest.fixture(
    scope="module", params=[write_llama, write_qwen2, write_demo], ids=["llama", "qwen2", "demo"]
)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write: Callable[[Path], Path] = request.param
    return write(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def awq(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(base, tmp_path_factory.mktemp("made") / "awq").folder


@pytest.fixture(scope="module")
def unquantized(base: Path) -> Model:
    return Model(base, VisionSpec(tap="tower"))


@pytest.mark.parametrize("name", sorted(ON_CPU))
def test_every_method_that_runs_on_a_cpu_answers_from_the_unquantised_models_features(
    name: str, base: Path, awq: Path, unquantized: Model
) -> None:
    weights = WeightsSpec.model_validate(_with_path(ON_CPU[name], awq))
    check_weights(weights, spec(base), base)
    visuals = [unquantized.visual(VIDEO)]
    plain = unquantized.decoder
    decoder: Any = unquantized.family.decoder(
        base, spec(base), unquantized.vision_spec, weights=weights
    )
    assert not any("vision_tower" in n for n, _ in decoder.model.named_parameters())
    _only_decoder_layers_differ(decoder, plain)
    answers = answered(decoder, visuals, QUESTIONS, SHORT)
    assert all(answer.token_ids for answer in answers)
    assert digests_of(answered(decoder, visuals, QUESTIONS, SHORT)) == digests_of(answers)
    ids = answered(plain, visuals, QUESTIONS[:1], SHORT)[0].token_ids
    expected, found = (one.answer_logits(visuals, QUESTIONS[0], ids) for one in (plain, decoder))
    error = float((found - expected).norm() / expected.norm())
    assert (error == 0) == (name == "none")
    assert error < 0.5
    assert decoder.score(decoder.prefill(visuals), QUESTIONS[:1], [("yes", "no")])[0][0].log_probs
    _bytes_are_counted(name, decoder, plain)


def _with_path(written: Any, awq: Path) -> Any:
    return json.loads(json.dumps(written).replace("AWQ", str(awq)))


def _only_decoder_layers_differ(decoder: Any, plain: Any) -> None:
    """Head, embeddings, last norm and projector are the model's, bit for bit."""
    expected = dict(plain.model.named_parameters())
    inside = {id(p) for p in decoder_layers(decoder.model).parameters()}
    outside = {n: p for n, p in decoder.model.named_parameters() if id(p) not in inside}
    assert any("embed_tokens" in name for name in outside)
    for name, value in outside.items():
        if "projector" not in name:
            assert torch.equal(value, expected[name]), name
    assert type(decoder.model.get_output_embeddings()) is nn.Linear
    for ours, theirs in zip(
        decoder.projector.parameters(), plain.projector.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def _bytes_are_counted(name: str, decoder: Any, plain: Any) -> None:
    loaded, full = decoder.loaded, plain.loaded
    assert loaded.num_bytes == sum(loaded.bytes_by_part.values())
    for part in ("embeddings", "head", "projector"):
        assert loaded.bytes_by_part[part] == full.bytes_by_part[part]
    weights = 4 * sum(p.numel() for p in decoder_layers(plain.model).parameters())
    assert full.bytes_by_part["layers"] == weights
    # Scales, biases and norms are on top: more than the bits alone, and less than twice.
    share = BITS.get(name, 32) / 32
    assert share * weights * 0.99 < loaded.bytes_by_part["layers"] < 1.8 * share * weights
    assert loaded.load_s > 0
    assert loaded.peak_bytes is None or loaded.peak_bytes > loaded.num_bytes


def test_the_projector_is_the_models_own_where_the_language_side_is_another_checkpoints(
    tmp_path: Path,
) -> None:
    base = write_llama(tmp_path / "base")
    made = make(base, tmp_path / "awq").folder
    weights = load_file(made / "model.safetensors")
    for name in weights:
        if "projector" in name:
            weights[name] += 1
    save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    variant = WeightsSpec(method="awq", path=str(made))
    for tap in ("tower", "projected"):
        vision = VisionSpec(tap=tap)  # type: ignore[arg-type]
        family, _ = find_family(spec(base))
        plain: Any = family.decoder(base, spec(base), vision)
        decoder: Any = family.decoder(base, spec(base), vision, weights=variant)
        assert (decoder.projector is None) == (tap == "projected")
        if tap == "tower":
            for name, value in plain.projector.state_dict().items():
                assert torch.equal(decoder.projector.state_dict()[name], value)


def test_a_name_stands_for_a_method_without_options() -> None:
    assert WeightsSpec.model_validate("bnb-nf4") == WeightsSpec(method="bnb-nf4")
    assert WeightsSpec() == NONE


def test_titles_tell_variants_apart() -> None:
    assert NONE.title == "none"
    assert WeightsSpec(method="awq", path="org/model-AWQ").title == "awq:model-AWQ"
    with_options = WeightsSpec(method="rtn", options={"num_bits": 8, "group_size": 32})
    assert with_options.title == "rtn(group_size=32,num_bits=8)"
    double = WeightsSpec(method="bnb-nf4", options={"double_quant": True})
    assert double.title == "bnb-nf4(double_quant)"
    assert WeightsSpec(method="rtn", label="ours").title == "ours"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp("tiny"))  # widths 64 and 96


REFUSED = {
    "unknown": ("awk", "no weights method is called 'awk'; known: awq, .* Did you mean 'awq'"),
    "option": (
        {"method": "bnb-nf4", "options": {"double": True}},
        "weights: options of method 'bnb-nf4': double: unknown key.*Allowed: double_quant",
    ),
    "no options": (
        {"method": "torchao-int8", "options": {"bits": 4}},
        "Allowed: none",
    ),
    "width": ("rtn", "self_attn.q_proj has 64 inputs, no multiple of the group size 128"),
    "kernel": (
        {"method": "rtn", "options": {"group_size": 32, "kernel": "int4"}},
        "kernel 'int4' cannot take dtype float32",
    ),
    "kernel's groups": (
        {"method": "rtn", "options": {"group_size": 16, "kernel": "int4"}},
        "groups of 16 .it takes 32, 64, 128, 256.",
    ),
    "kernel's bits": (
        {"method": "rtn", "options": {"group_size": 32, "num_bits": 8, "kernel": "int4"}},
        "kernel 'int4' is for num_bits: 4",
    ),
    "no path": ("awq", "needs the path of a checkpoint that AWQ has made"),
    "no checkpoint": ("checkpoint", "needs the path of a quantised checkpoint"),
    "not quantised": ({"method": "checkpoint", "path": "TINY"}, "is not quantised"),
    "not AWQ": ({"method": "awq", "path": "TINY"}, "reads checkpoints of the kind awq or"),
    "path not taken": (
        {"method": "bnb-nf4", "path": "TINY"},
        "takes the weights from model.path; got path",
    ),
    "path for nothing": ({"method": "none", "path": "TINY"}, "takes the weights from model.path"),
    "absent": (
        {"method": "awq", "path": "no/such/folder"},
        "^weights path 'no/such/folder' is neither a",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_is_refused_before_loading(name: str, tiny: Path) -> None:
    written, message = REFUSED[name]
    text = json.dumps(written).replace("TINY", str(tiny))
    weights = WeightsSpec.model_validate(json.loads(text))
    with pytest.raises(ValueError, match=message):
        check_weights(weights, spec(tiny), tiny)


def test_a_checkpoint_of_another_model_or_method_is_refused(tmp_path: Path, tiny: Path) -> None:
    other = write_tiny_llava(tmp_path / "other", num_hidden_layers=3)
    made = make(other, tmp_path / "awq").folder
    awq = WeightsSpec(method="awq", path=str(made))
    with pytest.raises(WeightsError, match="num_hidden_layers is 3 there and 2 in the model"):
        check_weights(awq, spec(tiny), tiny)
    with pytest.raises(WeightsError, match="was made by awq. Write method: awq"):
        check_weights(WeightsSpec(method="rtn", path=str(made)), spec(other), other)
    finer = WeightsSpec(method="rtn", path=str(made), options={"num_bits": 8})
    with pytest.raises(WeightsError, match="leave away num_bits"):
        check_weights(finer, spec(other), other)
    for method in ("bnb-int8", "torchao-int8", "rtn"):
        with pytest.raises(WeightsError, match="quantising twice measures neither"):
            check_weights(WeightsSpec(method=method), spec(made), made)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make a library look as if it were not installed."""
    real = importlib.util.find_spec

    def hide(hidden: str) -> None:
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *others: None if name == hidden else real(name, *others),
        )

    yield hide


@pytest.mark.parametrize(
    ("method", "module"), [("bnb-int8", "bitsandbytes"), ("torchao-int8", "torchao")]
)
def test_a_missing_library_is_named_with_what_to_type(
    method: str, module: str, tiny: Path, without: Callable[[str], None]
) -> None:
    without(module)
    with pytest.raises(WeightsError, match=f"pip install {module}"):
        check_weights(WeightsSpec(method=method), spec(tiny), tiny)


def test_a_device_without_kernels_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitsandbytes.supported_torch_devices", {"cuda"})
    with pytest.raises(WeightsError, match="no kernels for 'cpu'; it has for cuda. Set model.dev"):
        check_weights(WeightsSpec(method="bnb-int8"), spec(tiny), tiny)


def test_widths_that_the_cpus_4_bit_kernel_cannot_take_are_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nf4 = WeightsSpec(method="bnb-nf4")
    monkeypatch.setattr("bitsandbytes.functional.has_avx512bf16", lambda: True)
    with pytest.raises(WeightsError, match="mlp.down_proj has 96 and 64. Use bnb-int8"):
        check_weights(nf4, spec(tiny), tiny)
    monkeypatch.setattr("bitsandbytes.functional.has_avx512bf16", lambda: False)
    check_weights(nf4, spec(tiny), tiny)


def test_bitsandbytes_cannot_corrupt_a_checkpoint(tmp_path: Path) -> None:
    base = write_llama(tmp_path / "base")
    family, _ = find_family(spec(base))
    for method in ("bnb-nf4", "bnb-int8"):
        weights = WeightsSpec(method=method)
        decoder: Any = family.decoder(
            base, spec(base), VisionSpec(tap="projected"), weights=weights
        )
        before = {n: t.clone() for n, t in decoder.model.state_dict().items()}
        with torch.inference_mode():
            decoder.model(input_ids=torch.arange(4, 20)[None])
        try:
            after = decoder.model.state_dict()
        except CheckpointError as error:
            assert "was rearranged by bitsandbytes' CPU kernel" in str(error)
        else:
            assert before.keys() == after.keys()
            assert all(torch.equal(after[name], before[name]) for name in before)
        with pytest.raises(CheckpointError, match="quantised while it was loaded, is not saved"):
            decoder.model.save_pretrained(tmp_path / "saved")
        assert not (tmp_path / "saved").exists()


def test_what_comes_after_quantisation_is_not_written_into_it() -> None:
    with pytest.raises(ValueError, match="'kv' is a key of its own beside 'weights'"):
        WeightsSpec.model_validate({"method": "rtn", "kv": "snapkv"})
    with pytest.raises(ValueError, match="bits"):
        WeightsSpec.model_validate({"method": "rtn", "bits": 4})


def test_bitsandbytes_is_not_let_fetch_kernels_from_the_hub(tmp_path: Path) -> None:
    # Only SystemExit gets through bitsandbytes' `except Exception`.
    fetching = "def get_kernel(*args, **kwargs): raise SystemExit('fetched')"
    (tmp_path / "kernels.py").write_text(fetching)
    script = (
        "import kernels; from encodeonce.models.quantization.bnb import _bitsandbytes; "
        "assert _bitsandbytes().nn.Linear4bit; import kernels; assert kernels.get_kernel"
    )
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
