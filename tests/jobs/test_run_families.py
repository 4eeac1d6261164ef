"""The main job with families whose units, arrays and prompts differ from LLaVA's."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contracts.family import spec
from tests.contracts.logits import TOLERANCE, NotedLogits
from tests.fixtures.tiny.internvl import write_tiny_internvl
from tests.fixtures.tiny.longva import write_tiny_longva
from tests.fixtures.tiny.minicpm_v import write_tiny_minicpm_v
from tests.fixtures.tiny.nvila_lite import write_tiny_nvila_lite
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen3_vl
from tests.fixtures.tiny.qwen_vl_chat import write_tiny_qwen_vl_chat
from tests.fixtures.tiny.vila import write_tiny_vila
from tests.jobs.scene import make_scene


@pytest.mark.parametrize(
    "write",
    [
        write_tiny_qwen3_vl,
        write_tiny_internvl,
        write_tiny_longva,
        write_tiny_vila,
        write_tiny_nvila_lite,
        write_tiny_minicpm_v,
        write_tiny_qwen_vl_chat,
    ],
)
def test_answers_from_the_store_are_those_of_the_whole_model(
    tmp_path: Path, write: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    scene = make_scene(tmp_path)
    shutil.rmtree(scene.folder / "model")
    (scene.folder / "model").mkdir()
    write(scene.folder / "model")
    model = spec(scene.folder / "model").model_dump(mode="json")
    done = scene.execute("run", model=model, check_uncached="all", vision={"tap": "projected"})
    assert done.exit_code == 0, done.stderr
    logits.assert_no_close_calls()
    assert "cached and uncached answers identical: 6 of 6 (logits bit for bit: " in done.stdout
    assert scene.report()["comparison"]["largest_logit_difference"] < 10 * TOLERANCE
