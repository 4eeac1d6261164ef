"""Merging against a loop of a few lines, and the method around it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.kv.methods import ccm
from encodeonce.models.kv.registry import check_kv, for_workers
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.trained.compressor import Compressor, new_compressor
from encodeonce.models.kv.trained.grouping import group_tokens
from encodeonce.models.kv.trained.header import CompressorForm
from tests.compressors import random_compressor, write_random
from tests.contracts.kv_method import NUM_LAYERS, WIDTH, KVMethodContract, made_up_prompt

T, V = False, True
MIXED = [T] * 3 + [V] * 11 + [T] * 2 + [V] * 5 + [T] * 9


def flags(some: list[bool]) -> torch.Tensor:
    return torch.tensor(some)


def by_loop(
    compressor: Compressor, side: str, states: torch.Tensor, layer: int, segments: Any
) -> torch.Tensor:
    """Merge one head's (N, D) states: groups are (net, start, end), the rest stays."""
    out = []
    for kind, start, end in segments:
        if kind is None:
            out += list(states[start:end])
            continue
        net = compressor.nets[f"{kind}_{side}"].state_dict()
        x = states[start:end].flatten()
        h = (x @ net["weight1"][layer] + net["bias1"][layer, 0]).relu()
        h = (h @ net["weight2"][layer] + net["bias2"][layer, 0]).relu()
        y = h @ net["weight3"][layer] + net["bias3"][layer, 0]
        out.append(y + states[start:end].mean(0) if compressor.form.skip == "mean" else y)
    return torch.stack(out)


FORMS: Mapping[str, tuple[dict[str, Any], list[Any]]] = {
    "ours": (
        {"factor": 4},
        [(None, 0, 3), ("visual", 3, 7), ("visual", 7, 11), (None, 11, 30)],
    ),
    "text too": (
        {"factor": 2, "text": "compress", "min_groups": 1, "skip": "none"},
        [("text", 0, 2), (None, 2, 3)]
        + [("visual", n, n + 2) for n in range(3, 13, 2)]
        + [(None, 13, 14), ("text", 14, 16), ("visual", 16, 18), ("visual", 18, 20), (None, 20, 21)]
        + [("text", n, n + 2) for n in range(21, 29, 2)]
        + [(None, 29, 30)],
    ),
    "FastCache's for LLaVA": (
        {"factor": 5, "text": "compress", "segments": "visual_then_text", "skip": "none"},
        [("visual", n, n + 5) for n in range(0, 20, 5)] + [(None, 20, 30)],
    ),
    "FastCache's for MiniCPM-V": (
        {"factor": 7, "text": "compress", "segments": "whole", "nets": "shared", "skip": "none"},
        [("any", n, n + 7) for n in range(0, 28, 7)] + [(None, 28, 30)],
    ),
    "sinks, a narrower inside": (
        {"factor": 3, "num_sinks": 5, "hidden": 4, "min_groups": 3},
        [(None, 0, 5), ("visual", 5, 8), ("visual", 8, 11), ("visual", 11, 14), (None, 14, 30)],
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_merging_is_what_a_loop_gives(name: str) -> None:
    fields, segments = FORMS[name]
    form = CompressorForm(**fields)
    compressor = random_compressor(form, NUM_LAYERS, WIDTH)
    keys, values = torch.randn(2, NUM_LAYERS, 2, len(MIXED), WIDTH)
    grouping = group_tokens(flags(MIXED), form)
    found = compressor(keys, values, grouping)
    last = [token for kind, start, end in segments for token in _entries(kind, start, end)]
    assert grouping.indices.tolist() == last
    for side, states, merged in zip(("keys", "values"), (keys, values), found, strict=True):
        for layer in range(NUM_LAYERS):
            for head in range(2):
                expected = by_loop(compressor, side, states[layer, head], layer, segments)
                assert torch.allclose(merged[layer, head], expected, atol=1e-5)


def _entries(kind: str | None, start: int, end: int) -> list[int]:
    return list(range(start, end)) if kind is None else [end - 1]


def test_new_nets_are_mean_pooling() -> None:
    form = CompressorForm(factor=4)
    compressor = new_compressor(form, 1, WIDTH, dropout=0.0, seed=1)
    states = torch.randn(1, 2, 12, WIDTH)
    keys, _ = compressor(states, states, group_tokens(flags([V] * 12), form))
    assert torch.allclose(keys, states.unflatten(2, (3, 4)).mean(3), atol=1e-6)


def test_new_nets_follow_from_the_seed_and_leave_the_generator_alone() -> None:
    form = CompressorForm(factor=4)
    torch.manual_seed(7)
    one = new_compressor(form, 2, WIDTH, dropout=0.0, seed=3)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    other = new_compressor(form, 2, WIDTH, dropout=0.0, seed=3)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_half_precision_stays_half() -> None:
    """A float32 entry beside a bfloat16 model would double the bytes."""
    form = CompressorForm(factor=4)
    compressor = random_compressor(form, 1, WIDTH)
    states = torch.randn(1, 2, 12, WIDTH, dtype=torch.bfloat16)
    for merged in compressor(states, states, group_tokens(flags([V] * 12), form)):
        assert merged.dtype == torch.bfloat16


class TestCCM(KVMethodContract):
    method = "ccm"
    budgets = (0.25,)

    @pytest.fixture(autouse=True)
    def _choose(self, tmp_path: Path) -> None:
        path = write_random(tmp_path / "c", tuple(range(NUM_LAYERS)), WIDTH)
        self.options = {"path": str(path)}

    def test_a_loaded_net_builds_no_graph(self) -> None:
        """Settings compress outside inference mode too."""
        prompt, method = made_up_prompt(), self.make()
        for entries in method.apply_layers(
            prompt.layers, method.plan(prompt, 0.25), prompt.is_visual
        ):
            assert isinstance(entries.keys, torch.Tensor)
            assert not entries.keys.requires_grad

    def test_layers_are_the_same_in_chunks_of_any_size(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Long prompts are merged a few layers at a time."""
        prompt, method = made_up_prompt(), self.make()
        plan = method.plan(prompt, 0.25)
        whole = method.apply_layers(prompt.layers, plan, prompt.is_visual)
        size = prompt.layers[0].keys.numel()
        for layers in (1, 2):
            monkeypatch.setattr(ccm, "_MOST_ELEMENTS", layers * size)
            parts = method.apply_layers(prompt.layers, plan, prompt.is_visual)
            assert len(parts) == NUM_LAYERS
            for one, other in zip(whole, parts, strict=True):
                assert isinstance(one.values, torch.Tensor) and isinstance(
                    other.values, torch.Tensor
                )
                assert torch.allclose(one.values, other.values, atol=1e-6)

    def test_other_layers_than_it_was_trained_for_are_refused(self, tmp_path: Path) -> None:
        self.options = {"path": str(write_random(tmp_path / "other", (4, 5, 6), WIDTH))}
        prompt, method = made_up_prompt(), self.make()
        with pytest.raises(ValueError, match=r"trained for the layers \[4, 5, 6\]"):
            method.apply_layers(prompt.layers, method.plan(prompt, 0.25), prompt.is_visual)


def spec(folder: Path, **fields: Any) -> KVSpec:
    options = {"path": str(folder), **fields.pop("options", {})}
    return KVSpec(method="ccm", keep=fields.pop("keep", 0.25), options=options, **fields)


def test_a_budget_other_than_the_compressors_is_refused(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "c", (0, 1), WIDTH)
    check_kv(spec(folder))
    with pytest.raises(
        ValueError, match=r"'ccm' with these options keeps 0.25, .*; got keep 0.3. Write .*: 4"
    ):
        check_kv(spec(folder, keep=0.3))


def test_a_path_where_there_is_nothing_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no compressor.*encodeonce train compressor"):
        check_kv(spec(tmp_path / "none"))


def test_a_path_that_is_left_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'ccm': path: is missing"):
        check_kv(KVSpec(method="ccm", keep=0.25))


def test_a_header_that_is_damaged_names_the_file(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "c", (0, 1), WIDTH)
    (folder / "compressor.json").write_text('{"factor": 4')
    with pytest.raises(ValueError, match=r"compressor.json does not describe a compressor"):
        check_kv(spec(folder))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"", "is empty"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "cut"),
    ],
)
def test_weights_that_are_damaged_name_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    folder = write_random(tmp_path / "c", tuple(range(NUM_LAYERS)), WIDTH)
    (folder / "compressor.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        _made(folder).check_shape(range(NUM_LAYERS), WIDTH)  # before any model is loaded
    with pytest.raises(ValueError, match=words):
        _apply(folder, made_up_prompt())


def test_weights_of_another_form_name_the_tensor(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "c", tuple(range(NUM_LAYERS)), WIDTH)
    other = write_random(tmp_path / "d", tuple(range(NUM_LAYERS)), WIDTH, factor=8)
    (other / "compressor.safetensors").rename(folder / "compressor.safetensors")
    with pytest.raises(ValueError, match=r"visual_keys\.weight1 must be \(3, 32, 8\)"):
        _made(folder).check_shape(range(NUM_LAYERS), WIDTH)


def test_a_pinned_digest_is_compared(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "c", tuple(range(NUM_LAYERS)), WIDTH)
    with pytest.raises(ValueError, match=r"options.sha256 asks for 0000"):
        _apply(folder, made_up_prompt(), sha256="0" * 64)
    with pytest.raises(ValueError, match=r"options.sha256 asks for 0000"):
        _made(folder, sha256="0" * 64).check_shape(range(NUM_LAYERS), WIDTH)


def _made(folder: Path, **options: Any) -> Any:
    method = KVMethodContract()
    method.method, method.options = "ccm", {"path": str(folder), **options}
    return method.make()


def _apply(folder: Path, prompt: Any, **options: Any) -> None:
    made = _made(folder, **options)
    made.apply_layers(prompt.layers, made.plan(prompt, 0.25), prompt.is_visual)


def test_new_weights_in_the_same_place_are_read(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "c", tuple(range(NUM_LAYERS)), WIDTH)
    prompt = made_up_prompt()
    _apply(folder, prompt)
    (folder / "compressor.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        _apply(folder, prompt)


def test_a_model_of_another_shape_or_digest_is_refused(tmp_path: Path) -> None:
    method = KVMethodContract()
    folder = write_random(tmp_path / "c", (0, 1, 2), WIDTH)
    method.method, method.options = "ccm", {"path": str(folder)}
    made = method.make()
    made.check_shape(range(3), WIDTH)
    made.check_model("0" * 64)  # a compressor that does not say whose it is
    with pytest.raises(
        ValueError, match=r"is for 3 layers .* width 8; this model has 3 of width 9"
    ):
        made.check_shape(range(3), 9)
    for count in (2, 4):  # with a layer more, one would be left without nets
        with pytest.raises(ValueError, match=rf"this model has {count} of width 8"):
            made.check_shape(range(count), WIDTH)
    with pytest.raises(ValueError, match=r"layers \[0, 1, 2\]; .* window are \[1, 3, 5\]"):
        made.check_shape((1, 3, 5), WIDTH)


def test_workers_get_an_absolute_path_and_titles_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_random(tmp_path / "compressors" / "four", (0, 1), WIDTH)
    monkeypatch.chdir(tmp_path)
    given = KVSpec(method="ccm", keep=0.25, options={"path": "compressors/four"})
    found = for_workers(given)
    assert found.options == {"path": str(tmp_path / "compressors" / "four")}
    assert found.title == "ccm@0.25(path=four)"
