"""vLLM's server with our connector, killed, restarted, with other weights; `make test-vllm`."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from encodeonce.cache_store.home import Home
from encodeonce.cache_store.maintenance.verify import verify
from tests.plugins.vllm.server import serving
from tests.plugins.vllm.vllm_here import TIMEOUT_S, demo_checkpoint, ec_config, needs_vllm

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(3 * TIMEOUT_S)]
QUESTION = "Which digit is in the first scene at the top left?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    demo_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> list[str]:
    """The answers of a server that encoded, and was killed while another one shared its store."""
    transfer = ec_config(folder / "store")
    with (
        serving(folder / "demo", folder, transfer) as server,
        serving(folder / "demo", folder, transfer) as beside,
    ):
        answers = [server.ask(QUESTION, 1), server.ask(QUESTION, 2, 3)]
        assert server.wait_for("encoded", 3)["encoded"] == 3
        assert server.counts().get("loaded", 0) == 0
        # Pictures that one server has stored, the other one's encoder is not asked about.
        server.wait_for("stored", 1)
        assert beside.ask(QUESTION, 1) == answers[0]
        assert beside.wait_for("loaded", 1)["loaded"] == 1
        assert beside.counts().get("encoded", 0) == 0
        os.killpg(server.process.pid, signal.SIGKILL)
    return answers


def test_after_a_kill_the_next_server_encodes_nothing(folder: Path, first: list[str]) -> None:
    assert verify(Home(folder / "store" / "features")).clean
    with serving(folder / "demo", folder, ec_config(folder / "store")) as server:
        assert [server.ask(QUESTION, 1), server.ask(QUESTION, 2, 3)] == first
        counts = server.wait_for("loaded", 3)
    assert counts["loaded"] == 3
    assert counts.get("encoded", 0) == 0


def test_other_weights_under_the_same_name_find_nothing(folder: Path, first: list[str]) -> None:
    shutil.copytree(folder / "demo", folder / "kept")
    weights = load_file(folder / "demo" / "model.safetensors")
    name = next(one for one in weights if one.startswith("vision_tower") and one.endswith("bias"))
    weights[name] = weights[name] + torch.full_like(weights[name], 0.5)
    save_file(weights, folder / "demo" / "model.safetensors", {"format": "pt"})
    try:
        with serving(folder / "demo", folder, ec_config(folder / "store")) as server:
            server.ask(QUESTION, 1)
            counts = server.wait_for("encoded", 1)
    finally:
        shutil.rmtree(folder / "demo")
        (folder / "kept").rename(folder / "demo")
    assert counts["encoded"] == 1
    assert counts.get("loaded", 0) == 0


def test_a_flipped_byte_is_a_miss_and_the_answer_is_right(folder: Path, first: list[str]) -> None:
    packs = (folder / "store" / "features").glob("**/*.h5")
    for pack in packs:
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(content)
    with serving(folder / "demo", folder, ec_config(folder / "store")) as server:
        assert [server.ask(QUESTION, 1), server.ask(QUESTION, 2, 3)] == first
        counts = server.wait_for("encoded", 1)
        log = server.log.read_text()
    assert counts["damaged"] >= 1
    assert counts["encoded"] == counts["damaged"]
    assert "damaged" in log


@pytest.mark.filterwarnings("default")  # vLLM's own are not ours to mend
@pytest.mark.parametrize(
    ("given", "words"),
    [({"path": "here", "compress": True}, "'compress' is unknown"), ({}, "no path")],
)
def test_wrong_options_are_refused(given: dict[str, object], words: str) -> None:
    from encodeonce.harness.bridges.vllm.connector import _options

    with pytest.raises(ValueError, match=words):
        _options(given)
