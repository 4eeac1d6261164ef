"""Checkpoints with random weights: the families load them, and their sizes are the real ones."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import (
    CLIPVisionModel,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    Qwen2ForCausalLM,
    SiglipVisionModel,
)

from encodeonce.models.spec import VisionSpec
from encodeonce.models.synthetic import llava as synthetic_llava
from encodeonce.models.synthetic import longva as synthetic_longva
from encodeonce.models.synthetic import vila as synthetic_vila
from encodeonce.models.synthetic.llava import write_random_llava
from encodeonce.models.synthetic.longva import write_random_longva
from encodeonce.models.synthetic.vila import write_random_vila
from tests.contracts.family import SHORT, VIDEO, Model
from tests.contracts.logits import NotedLogits

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("write", "num_tokens"),
    [
        (partial(write_random_llava, synthetic_llava.TINY), 4 * 16),
        (partial(write_random_longva, synthetic_longva.TINY), 4 * 4),
        (partial(write_random_vila, synthetic_vila.TINY), 4 * 9),
    ],
    ids=["llava", "longva", "vila"],
)
def test_a_random_checkpoint_is_answered_as_by_the_plain_model_to_the_last_token(
    tmp_path: Path,
    write: Callable[[Path, torch.dtype, torch.device], Path],
    num_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = NotedLogits(monkeypatch)
    model = Model(write(tmp_path / "new", torch.float32, CPU), VisionSpec(tap="projected"))
    answer = model.cached(VIDEO)
    logits.assert_close(answer, model.plain(VIDEO))
    assert len(answer.token_ids) == SHORT.max_new_tokens
    features = model.visual(VIDEO).features
    assert features.nbytes == num_tokens * 64 * 4


def num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_shapes_are_those_of_the_models_they_stand_for() -> None:
    with torch.device("meta"):
        small = LlavaForConditionalGeneration(
            synthetic_llava.config_of(synthetic_llava.SMALL, 0, 1)
        )
        llava = LlavaForConditionalGeneration(
            synthetic_llava.config_of(synthetic_llava.LLAVA_1_5_7B, 0, 1)
        )
        text, tower = synthetic_longva.configs_of(synthetic_longva.LONGVA_7B, 0, 1)
        longva, clip = Qwen2ForCausalLM(text), CLIPVisionModel(tower)
        text, tower = synthetic_vila.configs_of(synthetic_vila.VILA_1_5_3B, 0, 1)
        vila, siglip = LlamaForCausalLM(text), SiglipVisionModel(tower)
    language = num_parameters(small.model.language_model) + num_parameters(small.lm_head)
    assert 97e6 < language < 98e6
    assert 85e6 < num_parameters(small.model.vision_tower) < 88e6
    assert num_parameters(llava) == 7_063_427_072  # llava-hf/llava-1.5-7b-hf
    assert num_parameters(longva) == 7_615_616_512  # Qwen/Qwen2-7B
    assert num_parameters(clip) == 303_507_456  # openai/clip-vit-large-patch14-336
    assert num_parameters(vila) == 2_701_560_320  # princeton-nlp/Sheared-LLaMA-2.7B
    assert num_parameters(siglip) == 428_225_600  # google/siglip-so400m-patch14-384
