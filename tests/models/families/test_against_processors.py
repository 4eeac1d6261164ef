"""Our pixels, sizes and prompts are those of transformers' own processors, where they can run.

Without torchvision that is: image processors with the Pillow backend, and the processors' methods
that write prompts, called without the video processors that they would be built with.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoTokenizer, Idefics3Processor
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor

from encodeonce.models.families import idefics3, internvl, llava_onevision, smolvlm
from encodeonce.models.families.qwen2_5_vl import FAMILY as QWEN25
from encodeonce.models.families.qwen3_vl import FAMILY as QWEN3
from encodeonce.models.families.qwen3_vl import SharedPixels
from encodeonce.models.families.smolvlm import in_words
from encodeonce.models.family_bases.patch_grids import patches
from encodeonce.models.language.chat import Slot, load_chat
from encodeonce.models.language.placeholders import Projected
from encodeonce.models.vision.preprocessing import load_image_processor, resize_frames
from tests.contracts.family import QUESTION, Scene, media_info
from tests.fixtures.tiny.idefics3 import write_tiny_idefics3, write_tiny_smolvlm
from tests.fixtures.tiny.internvl import write_tiny_internvl
from tests.fixtures.tiny.llava_onevision import write_tiny_llava_onevision
from tests.fixtures.tiny.qwen_vl import (
    END,
    IMAGE,
    START,
    VIDEO,
    write_tiny_qwen2_5_vl,
    write_tiny_qwen3_vl,
)

SIZES = [(40, 48), (88, 40), (33, 97), (200, 30)]


@pytest.mark.parametrize("size", SIZES)
def test_grid_pixels_are_those_of_the_image_processor(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    folder = write_tiny_qwen2_5_vl(tmp_path)
    scene = Scene("image", size=size)
    ours = QWEN25.preprocessing(folder)
    frames = scene.frames((0,))
    pixels = ours.pixels(frames, ours.recipe(scene.info, 1))
    theirs = load_image_processor(folder)(images=list(frames.pixels_THWC), return_tensors="pt")
    vision = AutoConfig.from_pretrained(folder).vision_config
    assert torch.equal(patches(vision, pixels), theirs["pixel_values"])


def test_frames_are_resized_as_an_image_processor_resizes_pictures(tmp_path: Path) -> None:
    folder = write_tiny_internvl(tmp_path)
    processor = load_image_processor(folder)
    frames = Scene("video", (0, 1, 2), size=(70, 44)).frames((0, 1, 2))
    theirs = processor(images=list(frames.pixels_THWC), crop_to_patches=False, return_tensors="pt")[
        "pixel_values"
    ]
    assert torch.equal(resize_frames(frames, processor, {"height": 32, "width": 32}), theirs)


@pytest.mark.parametrize("num_frames", [2, 3, 4, 17, 100])
@pytest.mark.parametrize("size", [*SIZES, (1920, 1080), (7, 5)])
def test_a_video_of_qwen3_is_resized_as_its_processor_would(
    tmp_path: Path, size: tuple[int, int], num_frames: int
) -> None:
    folder = write_tiny_qwen3_vl(tmp_path)
    ours = QWEN3.preprocessing(folder)
    assert isinstance(ours, SharedPixels)
    fewest, most = ours.video_pixels
    info = media_info("video", *size, num_frames=num_frames)
    assert ours.resized(info, num_frames) == smart_resize(
        num_frames, size[1], size[0], 2, ours.factor, fewest, most
    )


def shown(family: Any, folder: Path, scene: Scene, main: torch.Tensor) -> str:
    """Return the text that takes the place of a scene with features like ``main``."""
    preprocessing = family.preprocessing(folder)
    one = Projected(
        info=scene.info,
        units=preprocessing.units(scene.info, scene.indices),
        recipe=preprocessing.recipe(scene.info, len(scene.indices)),
        arrays={"main": main},
    )
    model = SimpleNamespace(config=AutoConfig.from_pretrained(folder))
    return str(family.show(model, AutoTokenizer.from_pretrained(folder), [one])[0].text)


def test_temporal_patches_are_units_and_the_last_is_filled_with_the_last_frame(
    tmp_path: Path,
) -> None:
    folder = write_tiny_qwen2_5_vl(tmp_path)
    scene = Scene("video", (2, 5, 9))
    units = QWEN25.preprocessing(folder).units(scene.info, scene.indices)
    assert units == (("frames:2+5", (2, 5)), ("frames:9+9", (9, 9)))


def test_qwen3_tells_times_as_its_processor_does(tmp_path: Path) -> None:
    folder = write_tiny_qwen3_vl(tmp_path)
    scene = Scene("video", (0, 3, 6, 9, 12))  # two frames a second
    processor = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        vision_start_token=START,
        vision_end_token=END,
        video_token=VIDEO,
        _calculate_timestamps=lambda *args: Qwen3VLProcessor._calculate_timestamps(None, *args),
    )
    metadata = SimpleNamespace(fps=2.0, frames_indices=list(scene.indices))
    inputs = {"video_grid_thw": np.array([[3, 4, 6]]), "video_metadata": [metadata]}
    theirs = Qwen3VLProcessor.replace_video_token(processor, inputs, 0)
    family_text = QWEN3.text(
        AutoConfig.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
        Projected(
            info=scene.info,
            units=QWEN3.preprocessing(folder).units(scene.info, scene.indices),
            recipe={},
            arrays={"main": torch.empty(3, 6, 64)},
        ),
    )
    assert family_text == theirs


def test_seconds_between_temporal_patches_are_those_of_the_sampled_frames(tmp_path: Path) -> None:
    folder = write_tiny_qwen2_5_vl(tmp_path)
    scene = Scene("video", (0, 3, 6, 9, 12))  # every third of two frames a second
    preprocessing = QWEN25.preprocessing(folder)
    recipe = preprocessing.recipe(scene.info, 5)
    tokens = recipe["size"]["height"] * recipe["size"]["width"] // 8**2
    one = Projected(
        info=scene.info,
        units=preprocessing.units(scene.info, scene.indices),
        recipe=recipe,
        arrays={"main": torch.empty(3, tokens, 64)},
    )
    model = SimpleNamespace(config=AutoConfig.from_pretrained(folder))
    shown_video = QWEN25.show(model, AutoTokenizer.from_pretrained(folder), [one])[0]
    sampled_fps = 2 / 3
    assert shown_video.second_per_grid == pytest.approx(2 / sampled_fps)
    assert shown_video.grid[0] == 3


def test_qwen_videos_and_pictures_take_as_many_tokens_as_the_processor_says(
    tmp_path: Path,
) -> None:
    folder = write_tiny_qwen2_5_vl(tmp_path)
    scene = Scene("image", size=(88, 40))
    frames = scene.frames((0,))
    grid = load_image_processor(folder)(images=list(frames.pixels_THWC), return_tensors="pt")
    processor = SimpleNamespace(image_processor=SimpleNamespace(merge_size=2), image_token=IMAGE)
    theirs = Qwen2_5_VLProcessor.replace_image_token(processor, grid, 0)
    num_tokens = int(grid["image_grid_thw"].prod()) // 4
    assert shown(QWEN25, folder, scene, torch.empty(1, num_tokens, 64)) == theirs


def test_internvl_writes_what_its_processor_writes(tmp_path: Path) -> None:
    folder = write_tiny_internvl(tmp_path)
    processor = SimpleNamespace(
        start_image_token="<img>",
        end_image_token="</img>",
        image_token="<IMG_CONTEXT>",
        image_seq_length=4,
    )
    image = InternVLProcessor.replace_image_token(processor, {"num_patches": [3]}, 0)
    assert shown(internvl.FAMILY, folder, Scene("image"), torch.empty(1, 3, 4, 64)) == image
    scene = Scene("video", (0, 1, 2))
    inputs = {"pixel_values_videos": torch.empty(1, 3, 3, 32, 32)}
    video = InternVLProcessor.replace_video_token(processor, inputs, 0)
    assert shown(internvl.FAMILY, folder, scene, torch.empty(3, 1, 4, 64)) == video


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("processor_class", [Idefics3Processor, SmolVLMProcessor])
def test_rows_and_columns_are_told_as_the_processor_tells_them(
    tmp_path: Path, processor_class: Callable[..., Any], size: tuple[int, int]
) -> None:
    folder = write_tiny_idefics3(tmp_path)
    scene = Scene("image", size=size)
    frames = scene.frames((0,))
    inputs = load_image_processor(folder)(
        images=[list(frames.pixels_THWC)], return_row_col_info=True, return_tensors="pt"
    )
    processor = SimpleNamespace(
        fake_image_token="<fake_token_around_image>",
        global_image_tag="<global-img>",
        global_image_token="<global-img>",
        image_token="<image>",
        image_seq_len=4,
    )
    theirs = processor_class.replace_image_token(processor, inputs, 0)  # type: ignore[attr-defined]
    tiles = torch.empty(1, inputs["pixel_values"].shape[1], 4, 64)
    assert shown(idefics3.FAMILY, folder, scene, tiles) == theirs


@pytest.mark.parametrize("size", SIZES)
def test_onevision_packs_as_many_tokens_as_its_processor_says(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    folder = write_tiny_llava_onevision(tmp_path)
    image_processor = load_image_processor(folder)
    processor = LlavaOnevisionProcessor.__new__(LlavaOnevisionProcessor)
    processor.image_processor = image_processor
    processor.num_image_tokens = 16
    processor.vision_aspect_ratio = "anyres_max_9"
    theirs = processor._get_number_of_features(size[1], size[0], 32, 32)
    scene = Scene("image", size=size)
    ours = llava_onevision.FAMILY.preprocessing(folder)
    pixels = ours.pixels(scene.frames((0,)), ours.recipe(scene.info, 1))
    model = llava_onevision.FAMILY.model_class.from_pretrained(folder)
    one = Projected(
        info=scene.info,
        units=ours.units(scene.info, (0,)),
        recipe={},
        arrays={"main": torch.zeros(*pixels.shape[:2], 16, 64)},
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(llava_onevision.FAMILY.show(model, tokenizer, [one])[0].tokens) == theirs


def test_onevision_shows_several_pictures_as_its_processor_does(tmp_path: Path) -> None:
    folder = write_tiny_llava_onevision(tmp_path)
    image_processor = load_image_processor(folder)
    scenes = [Scene("image", size=size, seed=n) for n, size in enumerate(SIZES)]
    frames = [scene.frames((0,)) for scene in scenes]
    pictures = [one.pixels_THWC[0] for one in frames]
    theirs = image_processor(images=[pictures], return_tensors="pt")
    ours = llava_onevision.FAMILY.preprocessing(folder)
    pixels = [
        ours.pixels(one, ours.recipe(s.info, 1)) for s, one in zip(scenes, frames, strict=True)
    ]
    for mine, other in zip(pixels, theirs["pixel_values"], strict=True):
        assert torch.equal(mine[0, -1:], torch.as_tensor(other))
    processor = LlavaOnevisionProcessor.__new__(LlavaOnevisionProcessor)
    processor.image_token, processor.num_image_tokens = "<image>", 16
    processor.vision_feature_select_strategy = "full"
    media = [
        Projected(
            info=scene.info,
            units=ours.units(scene.info, (0,)),
            recipe={},
            arrays={"main": torch.zeros(*one.shape[:2], 16, 64)},
        )
        for scene, one in zip(scenes, pixels, strict=True)
    ]
    model = llava_onevision.FAMILY.model_class.from_pretrained(folder)
    shown = llava_onevision.FAMILY.show(model, AutoTokenizer.from_pretrained(folder), media)
    for number, one in enumerate(shown):
        assert one.text == processor.replace_image_token(theirs, number)


def test_smolvlm_asks_about_videos_as_its_processor_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_smolvlm(tmp_path)
    scene = Scene("video", (0, 3, 140, 260, 263))  # two frames a second, 264 of them
    monkeypatch.setattr(processing_smolvlm, "num2words", in_words)
    processor = SimpleNamespace(
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
        image_token="<image>",
        image_seq_len=4,
    )
    times = [index / 2 for index in scene.indices]
    metadata = SimpleNamespace(fps=2.0, timestamps=times, duration=264 / 2.0)
    inputs = {"pixel_values": torch.empty(1, 5, 3, 32, 32), "video_metadata": [metadata]}
    theirs = SmolVLMProcessor.replace_video_token(processor, inputs, 0)
    assert shown(smolvlm.FAMILY, folder, scene, torch.empty(5, 1, 4, 64)) == theirs
    assert "five frames from a 0:02:12 [H:MM:SS]" in theirs


def test_smolvlm_asks_about_videos_by_the_template_of_its_processor(tmp_path: Path) -> None:
    chat = smolvlm.FAMILY.chat(tmp_path, AutoConfig.from_pretrained(write_tiny_smolvlm(tmp_path)))
    with_video = chat.prompt([Slot("video", "frames"), Slot("image", "picture")], QUESTION)
    template = processing_smolvlm.DEFAULT_CHAT_TEMPLATE
    parts = [{"type": "video"}, {"type": "image"}, {"type": "text", "text": QUESTION}]
    theirs = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": parts}],
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
    )
    assert with_video == theirs.replace("<video>", "frames").replace("<image>", "picture")
    assert "User: frames" in with_video
    assert "<end_of_utterance>" not in chat.prompt([Slot("image", "picture")], QUESTION)


def test_frames_of_smolvlm_are_whole_and_square(tmp_path: Path) -> None:
    folder = write_tiny_smolvlm(tmp_path)
    (folder / "video_preprocessor_config.json").write_text(
        json.dumps({"video_sampling": {"video_size": {"longest_edge": 48}, "fps": 1}})
    )
    scene = Scene("video", (0, 1), size=(88, 40))
    ours = smolvlm.FAMILY.preprocessing(folder)
    recipe = ours.recipe(scene.info, 2)
    assert (recipe["size"], recipe["rows"], recipe["columns"]) == ({"longest_edge": 48}, 0, 0)
    pixels = ours.pixels(scene.frames((0, 1)), recipe)
    assert pixels.shape == (2, 1, 3, 32, 32)
    first = Image.fromarray(scene.frames((0,)).pixels_THWC[0])
    small = first.resize((48, 22), Image.Resampling.LANCZOS)
    squeezed = np.asarray(small.resize((32, 32), Image.Resampling.LANCZOS))
    expected = torch.tensor((squeezed / 255 - 0.5) / 0.5, dtype=torch.float32).permute(2, 0, 1)
    assert torch.allclose(pixels[0, 0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (8, "eight"),
        (13, "thirteen"),
        (20, "twenty"),
        (64, "sixty-four"),
        (100, "one hundred"),
        (128, "one hundred and twenty-eight"),
        (110, "one hundred and ten"),
        (1000, "one thousand"),
        (1024, "one thousand and twenty-four"),
        (1100, "one thousand, one hundred"),
        (12_345, "twelve thousand, three hundred and forty-five"),
    ],
)
def test_numbers_are_spelt_as_num2words_spells_them(number: int, words: str) -> None:
    assert in_words(number) == words


def test_the_times_of_qwen3_stand_in_the_place_of_the_video_token_alone(tmp_path: Path) -> None:
    folder = write_tiny_qwen3_vl(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    chat = load_chat(folder, tokenizer, QWEN3.placeholders(config, tokenizer))
    slots = [Slot("video", f"<0.2 seconds>{START}{VIDEO}{END}"), Slot("image", IMAGE * 3)]
    processor = Qwen3VLProcessor.__new__(Qwen3VLProcessor)
    processor.image_token, processor.video_token = IMAGE, VIDEO
    template = chat.prompt([Slot("video", VIDEO), Slot("image", IMAGE)], QUESTION)
    video, image = slots
    (theirs,), _ = processor.get_text_with_replacements([template], [image.text], [video.text])
    assert chat.prompt(slots, QUESTION) == theirs
    assert f"{START}<0.2 seconds>{START}{VIDEO}{END}{END}{START}{IMAGE * 3}{END}" in theirs
    assert theirs.index(QUESTION) > theirs.rindex(END)
