"""FastCache's checkpoints, in files made here by the names and shapes that its code writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from encodeonce.models.kv.registry import check_kv, find_method
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.trained.fastcache import fastcache_header, load_fastcache
from tests.contracts.kv_method import NUM_LAYERS, WIDTH, made_up_prompt

FACTOR = 5


def state(nets: tuple[str, ...] = ("tk", "tv", "ik", "iv")) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for net in nets:
        for layer in range(NUM_LAYERS):
            for place, inputs in (("0", FACTOR * WIDTH), ("3", WIDTH), ("6", WIDTH)):
                name = f"compress_{net}.{layer}.{place}"
                found[f"{name}.weight"] = torch.randn(WIDTH, inputs, generator=generator)
                found[f"{name}.bias"] = torch.randn(WIDTH, generator=generator)
    for layer in range(NUM_LAYERS):
        found[f"attention.{layer}.weight"] = torch.randn(1, WIDTH, generator=generator)
    return found


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "of a training script": lambda content: {
        "epoch": 3,
        "model_state_dict": {"compressor": content},
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
        "scheduler_state_dict": {"best": 0.1},
        "loss": 0.2,
    },
    "compressor alone": lambda content: {"compressor": content},
    "flat": lambda content: content,
}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_every_tree_is_found(tmp_path: Path, wrapped: str) -> None:
    path = tmp_path / "c.pth"
    torch.save(WRAPPED[wrapped](state()), path)
    header = fastcache_header(path, "fastcache-linear-decouple")
    assert (header.factor, header.head_width, header.layers) == (FACTOR, WIDTH, (0, 1, 2))
    assert (header.positions, header.skip, header.hidden) == ("compressed", "none", None)


def test_safetensors_with_the_same_names_are_read(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "c.safetensors")
    torch.save(state(), tmp_path / "c.pth")
    layout = "fastcache-linear-decouple"
    one = load_fastcache(tmp_path / "c.safetensors", layout).state_dict()
    other = load_fastcache(tmp_path / "c.pth", layout).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)


def sequential(tensors: dict[str, torch.Tensor], net: str, layer: int) -> torch.nn.Sequential:
    """Return a net as the authors' code has it."""
    module = torch.nn.Sequential(
        torch.nn.Linear(FACTOR * WIDTH, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.4),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.4),
        torch.nn.Linear(WIDTH, WIDTH),
    )
    prefix = f"compress_{net}.{layer}."
    module.load_state_dict(
        {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
    )
    return module.eval()


@pytest.mark.parametrize("layout", ["fastcache-linear-decouple", "fastcache-hybrid"])
def test_entries_are_those_of_the_authors_nets(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "c.pth"
    tensors = state() if layout == "fastcache-linear-decouple" else state(("tk", "tv"))
    torch.save(WRAPPED["of a training script"](tensors), path)
    spec = KVSpec(method="ccm", keep=0.2, options={"path": str(path), "layout": layout})
    check_kv(spec)
    method, prompt = find_method(spec), made_up_prompt()
    assert method is not None
    plan = method.plan(prompt, 0.2)
    found = method.apply_layers(prompt.layers, plan, prompt.is_visual)
    num_image = int(prompt.is_visual.nonzero().max()) + 1 if "decouple" in layout else 0
    for layer, entries in zip(prompt.layers, found, strict=True):
        for kind, states, mine in (
            ("k", layer.keys, entries.keys),
            ("v", layer.values, entries.values),
        ):
            expected = []
            for net, part in (("i", states[:, :num_image]), ("t", states[:, num_image:])):
                count = part.shape[1] // FACTOR
                if count >= 2:
                    groups = part[:, : count * FACTOR].reshape(len(part), count, FACTOR * WIDTH)
                    with torch.no_grad():
                        expected.append(sequential(tensors, net + kind, layer.layer)(groups))
                    part = part[:, count * FACTOR :]
                expected.append(part)
            assert torch.allclose(torch.cat(expected, 1), mine, atol=1e-4)


def test_image_nets_that_are_not_used_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state(), tmp_path / "c.pth")
    with caplog.at_level("INFO"):
        load_fastcache(tmp_path / "c.pth", "fastcache-hybrid")
    assert [record.message for record in caplog.records].count(
        f"{tmp_path / 'c.pth'}: the image nets are not used in layout fastcache-hybrid"
    ) == 1


def without(name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state().items() if key != name}


class Executed:
    """Would run code when unpickled."""

    def __reduce__(self) -> Any:
        return print, ("executed",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"compressor": {"weird.weight": torch.zeros(2)}}, r"holds 'weird.weight', which is not"),
        ({"compressor": Executed()}, "holds more than tensors and is not read"),
        ({"step": 3}, r"must hold tensors by name.*got the keys step"),
        ([1, 2], "got no dict"),
        (without("compress_ik.1.3.weight"), r"lacks compress_ik.1.3"),
        (without("compress_tk.0.0.weight"), "has no nets for text keys"),
        ({**state(), "compress_iv.2.6.weight": torch.zeros(3, 3)}, r"compress_iv.2.6 must be"),
        ({**state(), "compress_tk.0.0.weight": torch.zeros(8, 41)}, "no multiple of the head"),
    ],
)
def test_what_is_something_else_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "c.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=words):
        load_fastcache(path, "fastcache-linear-decouple")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git .* lfs pull"),
        (b"PK\x03\x04 but no archive", "is not a checkpoint that can be read"),
        (b"", "is not a checkpoint that can be read"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "c.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        fastcache_header(path, "fastcache-linear-decouple")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        fastcache_header(tmp_path / "c.pth", "fastcache-hybrid")
