"""The easy-VQA model's training: what is learnt from is what will be asked."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from transformers import AutoProcessor, LlavaForConditionalGeneration, LlavaProcessor

from encodeonce.datasets.benchmarks.easy_vqa import BENCHMARK, COLOURS, SHAPES
from encodeonce.models.easy_vqa import language_training
from encodeonce.models.easy_vqa.architecture import (
    NUM_PATCHES,
    make_config,
    make_processor,
    train_tokenizer,
)
from encodeonce.models.easy_vqa.language_training import encode, read_answers
from encodeonce.models.easy_vqa.lessons import Balance, Layout, iterate_texts
from encodeonce.models.easy_vqa.pictures import UNKNOWN, Pictures, load_pictures
from encodeonce.models.easy_vqa.scaffold import ASKABLE, facts_about
from encodeonce.models.easy_vqa.tower_pretraining import Album
from encodeonce.models.easy_vqa.train import train
from tests.datasets.benchmarks.image_layouts import write_json

QUESTIONS = [
    ["what color is the circle?", "blue", 0],
    ["is there not a red shape?", "yes", 0],
    ["is there a green shape?", "no", 0],
    ["what shape is present?", "rectangle", 1],
    ["is there a green shape?", "yes", 1],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train split: a blue circle in a corner, and a green rectangle."""
    root = tmp_path_factory.mktemp("easy-vqa")
    write_json(root / "train" / "questions.json", QUESTIONS)
    (root / "train" / "images").mkdir()
    for number, (shape, box, colour) in enumerate(
        [("ellipse", (40, 2, 59, 21), "blue"), ("rectangle", (8, 16, 31, 39), (0, 255, 0))]
    ):
        picture = Image.new("RGB", (64, 64), (240, 250, 235))
        getattr(ImageDraw.Draw(picture), shape)(box, fill=colour)
        picture.save(root / "train" / "images" / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Pictures:
    return load_pictures(BENCHMARK(folder=folder, split="train"))


@pytest.fixture(scope="module")
def processor(pictures: Pictures) -> LlavaProcessor:
    return make_processor(train_tokenizer(iterate_texts(pictures.samples)))


@pytest.fixture(scope="module")
def model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(make_config(processor.tokenizer)).eval()


def test_what_a_picture_shows_is_read_out_of_its_questions(pictures: Pictures) -> None:
    assert pictures.shapes.tolist() == [SHAPES.index("circle"), SHAPES.index("rectangle")]
    # "is there a green shape?" is about what may not be there: the second colour is not told.
    assert pictures.colours.tolist() == [COLOURS.index("blue"), UNKNOWN]


def test_ink_is_the_shape(pictures: Pictures) -> None:
    ink = pictures.ink()
    assert ink[1].sum() == 24 * 24
    assert ink[1, 16:40, 8:32].all()


class TestAlbum:
    """Pictures as they are, and moved."""

    def test_patches_are_labelled_where_the_shape_is(self, pictures: Pictures) -> None:
        batch = Album(pictures).as_they_are(torch.tensor([1]))
        labels = batch.shapes.reshape(8, 8)
        assert (labels[2:5, 1:4] == SHAPES.index("rectangle")).all()
        assert (labels == len(SHAPES)).sum() == 64 - 9
        assert batch.pixels.shape == (1, 3, 64, 64)
        assert (batch.pixels.amin(), batch.pixels.amax()) == (-1.0, 1.0)

    def test_moving_keeps_the_shape_whole(self, pictures: Pictures) -> None:
        torch.manual_seed(0)
        album = Album(pictures)
        before = album.as_they_are(torch.tensor([1] * 40)).pixels
        after = album.moved(torch.tensor([1] * 40)).pixels
        assert torch.equal(before.flatten(1).sort().values, after.flatten(1).sort().values)
        rows = (after[:, 2] < 0).any(2)
        starts = rows.int().argmax(1)
        assert all(row[start : start + 24].all() for row, start in zip(rows, starts, strict=True))
        assert len(set(starts.tolist())) > 10


def test_rows_hold_what_the_processor_would_make_of_each_question(
    pictures: Pictures, processor: LlavaProcessor
) -> None:
    layout = Layout(processor)
    (row,) = pictures.samples[:1]
    packed = layout.pack([row])
    benchmark = BENCHMARK(folder=None)
    for number, sample in enumerate(row):
        parts = [{"type": "image"}, {"type": "text", "text": benchmark.prompt(sample)}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
        )
        whole = processor(
            images=Image.new("RGB", (64, 64)), text=text, text_kwargs={"add_special_tokens": False}
        ).input_ids[0]
        mine = packed.ids[0, packed.numbers[0] == number].tolist()
        answer = processor.tokenizer.encode(sample.target + "</s>", add_special_tokens=False)
        image = [processor.image_token_id] * NUM_PATCHES
        assert [*whole, *answer] == [*layout.before.tolist(), *image, *mine]


def test_questions_of_a_row_do_not_see_each_other(
    pictures: Pictures, processor: LlavaProcessor, model: LlavaForConditionalGeneration
) -> None:
    layout, features = Layout(processor), torch.randn(2, NUM_PATCHES, 96)
    with torch.inference_mode():
        together = read_answers(model, layout, features, pictures.samples)
        apart = [
            read_answers(model, layout, features[[number]], [[sample]])
            for number, row in enumerate(pictures.samples)
            for sample in row
        ]
    losses = torch.cat([one.losses for one in apart])
    torch.testing.assert_close(together.losses, losses)
    torch.testing.assert_close(together.first_layer, torch.cat([one.first_layer for one in apart]))
    assert together.numbers.tolist() == [
        number for number, one in enumerate(apart) for _ in one.losses
    ]
    # The model's own forward, picture first, agrees about the first token of the first answer.
    sample = pictures.samples[0][0]
    ids = layout.pack([[sample]]).ids
    image = torch.full((1, NUM_PATCHES), processor.image_token_id)
    whole = torch.cat([layout.before[None], image, ids], 1)
    embeds = model.get_input_embeddings()(whole)
    place = slice(len(layout.before), len(layout.before) + NUM_PATCHES)
    embeds[:, place] = model.model.multi_modal_projector(features[:1])
    logits = model.lm_head(model.model.language_model(inputs_embeds=embeds).last_hidden_state)
    begins = whole.shape[1] - len(apart[0].losses)
    wanted = torch.nn.functional.cross_entropy(logits[0, begins - 1 : -1], whole[0, begins:])
    torch.testing.assert_close(apart[0].losses.mean(), wanted)


def test_features_are_those_that_the_model_projects(
    pictures: Pictures, model: LlavaForConditionalGeneration
) -> None:
    album = Album(pictures)
    features = encode(model, album)[0].float()
    pixels = album.as_they_are(torch.arange(2)).pixels
    with torch.inference_mode():
        projected = model.model.multi_modal_projector(features)
        wanted = model.model.get_image_features(pixels).pooler_output
    torch.testing.assert_close(projected, torch.stack([*wanted]), atol=0.02, rtol=0.02)


def test_every_answer_to_a_question_weighs_the_same(pictures: Pictures) -> None:
    common, rare = pictures.samples[0][2], pictures.samples[1][1]
    balance = Balance([[common, common, common, rare]])
    assert balance.weight(common) * 3 == pytest.approx(balance.weight(rare))
    assert 3 * balance.weight(common) + balance.weight(rare) == pytest.approx(4)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("is there not a red shape?", (ASKABLE.index("red"), 1)),
        ("is no circle present?", (ASKABLE.index("circle"), 1)),
        ("what color is the circle?", (ASKABLE.index("circle"), 0)),
        ("what shape is present?", (UNKNOWN, 0)),
    ],
)
def test_facts(question: str, told: tuple[int, int], pictures: Pictures) -> None:
    (found,) = facts_about(pictures, [(0, question)]).tolist()
    assert found == [SHAPES.index("circle"), COLOURS.index("blue"), *told]


def test_training_writes_a_checkpoint_that_transformers_loads(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_training, "PICTURES_PER_STEP", 2)
    train(tmp_path, pictures, tower_steps=2, language_steps=2, seed=0)
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    inputs = processor(
        images=Image.new("RGB", (64, 64)), text="<s><|user|><image>what?<|assistant|>",
        return_tensors="pt", text_kwargs={"add_special_tokens": False},
    )  # fmt: skip
    assert model.generate(**inputs).shape[1] <= inputs["input_ids"].shape[1] + 4
