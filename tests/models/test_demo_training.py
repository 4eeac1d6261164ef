"""How the demo model is taught: lessons packed together are read as if each stood alone."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from encodeonce.datasets.demo.contents import NUM_PLACES, NUM_SCENES, ORDINALS, Contents
from encodeonce.datasets.demo.questions import KINDS, draw_clip
from encodeonce.models.demo.architecture import (
    PATCHES_PER_FRAME,
    make_config,
    make_processor,
    train_tokenizer,
)
from encodeonce.models.demo.language_loss import (
    Scaffold,
    compute_losses,
    evict_prefix,
    scaffold_targets,
)
from encodeonce.models.demo.lessons import (
    Layout,
    Lesson,
    forms_of,
    iterate_texts,
    make_drill,
    make_lesson,
    read_layout,
)
from encodeonce.models.demo.packed_attention import NAME
from encodeonce.models.demo.packing import IGNORED_LABEL, NO_OPTION, PackedLessons, pack_lessons
from encodeonce.models.demo.patches import places_of_patches

NUM_CLIPS = 2
ASKED = [(kind, form) for kind in KINDS for form in forms_of(kind)]


@pytest.fixture(scope="module")
def processor() -> LlavaProcessor:
    return make_processor(train_tokenizer(iterate_texts(0, num_clips=20)))


@pytest.fixture(scope="module")
def layout(processor: LlavaProcessor) -> Layout:
    return read_layout(processor)


@pytest.fixture(scope="module")
def clips() -> list[list[Contents]]:
    rng = np.random.default_rng(1)
    return [draw_clip(rng) for _ in range(NUM_CLIPS)]


@pytest.fixture(scope="module")
def lessons(layout: Layout, clips: list[list[Contents]]) -> list[list[Lesson]]:
    rng = np.random.default_rng(2)
    return [
        [make_drill(rng, layout, scenes, kind) for kind in KINDS]
        + [
            make_lesson(rng, layout, scenes, kind, form)
            for kind in KINDS
            for form in forms_of(kind)
        ]
        for scenes in clips
    ]


@pytest.fixture(scope="module")
def packed(processor: LlavaProcessor, lessons: list[list[Lesson]]) -> PackedLessons:
    return pack_lessons(processor.tokenizer, lessons)


@pytest.fixture(scope="module")
def model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(make_config(processor.tokenizer)).eval()


@torch.no_grad()
def test_the_loss_is_that_of_each_lesson_alone_behind_its_clip(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    layout: Layout,
    clips: list[list[Contents]],
    lessons: list[list[Lesson]],
    packed: PackedLessons,
) -> None:
    num_visual = int((layout.prefix_ids == model.config.image_token_id).sum())
    features = torch.randn(NUM_CLIPS, num_visual, model.config.vision_config.hidden_size)
    chosen = torch.arange(num_visual).expand(NUM_CLIPS, -1)
    targets = scaffold_targets(clips)
    language = model.model.language_model
    scaffold = Scaffold(language.config.hidden_size)
    language.config._attn_implementation = NAME
    loss, _ = compute_losses(model, scaffold, layout, features, chosen, targets, packed)
    language.config._attn_implementation = "sdpa"
    alone, num_labels = 0.0, 0
    for clip, about in zip(features, lessons, strict=True):
        for lesson in about:
            prompt, answer = (
                torch.tensor(processor.tokenizer.encode(text, add_special_tokens=False))
                for text in (lesson.asking + lesson.instruction, lesson.answer)
            )
            ids = torch.cat([layout.prefix_ids, prompt, answer])
            embedded = model.get_input_embeddings()(ids).clone()
            embedded[ids == model.config.image_token_id] = model.model.multi_modal_projector(clip)
            hidden = language(inputs_embeds=embedded[None]).last_hidden_state[0]
            logits = model.lm_head(hidden)[-len(answer) - 1 : -1]
            alone += float(cross_entropy(logits, answer, reduction="sum"))
            num_labels += len(answer)
    assert num_labels == int((packed.labels != IGNORED_LABEL).sum())
    assert float(loss) == pytest.approx(alone / num_labels, abs=1e-4)


def test_before_a_letter_the_right_option_is_pointed_at(
    processor: LlavaProcessor, packed: PackedLessons
) -> None:
    before = packed.options != NO_OPTION
    assert int(before.sum()) == NUM_CLIPS * 4
    for clip, slot, at in before.nonzero().tolist():
        ids = packed.ids[clip, slot]
        option = int(packed.options[clip, slot, at])
        text = processor.decode(ids[option - 4 : option + 2])
        letter = processor.decode(packed.labels[clip, slot, at])
        last = processor.decode(ids[option]).strip()
        assert f"{letter}. {last}\n" in text
        assert packed.numbers[clip, slot, option] == packed.numbers[clip, slot, at]


def test_a_list_is_looked_for_one_item_after_the_other(
    processor: LlavaProcessor, layout: Layout, clips: list[list[Contents]]
) -> None:
    lesson = make_drill(np.random.default_rng(3), layout, clips[0], "list")
    alone = pack_lessons(processor.tokenizer, [[lesson]])
    following, whole = alone.evidence[:, 0, 0]
    cells = [scene * NUM_PLACES + place for [(scene, place)] in lesson.evidence]
    assert [found for _, found in following.nonzero().tolist()] == cells
    digits = [processor.decode(label) for label in alone.labels[0, 0, following.any(-1)]]
    assert digits == lesson.answer.removesuffix(layout.eos).split()
    asked_at = len(processor.tokenizer.encode(lesson.asking, add_special_tokens=False)) - 1
    assert whole.any(-1).nonzero()[:, 0].tolist() == list(range(asked_at, len(whole)))
    assert {tuple(row.nonzero()[:, 0].tolist()) for row in whole[asked_at:]} == {
        tuple(sorted(cells))
    }


def test_visual_tokens_are_asked_for_the_digits_before_theirs() -> None:
    scenes = [Contents(digits={0: 3, 4: 7}, tile=None), Contents(digits={4: 9, 8: 1}, tile=None)]
    frame, rank, track_rank = scaffold_targets([scenes])[:, 0].view(3, 2, PATCHES_PER_FRAME)
    places = places_of_patches()
    assert frame[0].unique().tolist() == [0]
    assert frame[1].unique().tolist() == [1]
    asked = [(0, 0, 0, 0), (0, 4, 1, 0), (1, 4, 0, 1), (1, 8, 1, 0)]
    for number, place, in_scene, at_place in asked:
        assert rank[number, places == place].tolist() == [in_scene] * 4
        assert track_rank[number, places == place].tolist() == [at_place] * 4
    assert rank[0, places == 1].unique().tolist() == [IGNORED_LABEL]


def test_a_place_is_four_neighbouring_patches() -> None:
    grid = places_of_patches().reshape(6, 6)
    assert grid[:2, :2].tolist() == [[0, 0], [0, 0]]
    assert grid[2:4, 4:].tolist() == [[5, 5], [5, 5]]
    assert np.bincount(grid.reshape(-1)).tolist() == [4] * 9


def test_each_frame_is_announced_by_the_word_that_questions_use(
    processor: LlavaProcessor, layout: Layout
) -> None:
    between = layout.prefix_ids[layout.prefix_ids != processor.image_token_id]
    assert processor.decode(between).endswith(" " + " ".join(ORDINALS))
    [first] = processor.tokenizer.encode(" first", add_special_tokens=False)
    at = layout.prefix_ids.tolist().index(first)
    images = layout.prefix_ids[at + 1 : at + 1 + PATCHES_PER_FRAME]
    assert images.tolist() == [processor.image_token_id] * PATCHES_PER_FRAME


def test_images_within_a_text_are_laid_out_like_parts(processor: LlavaProcessor) -> None:
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Which digit?"}]
    chats = [
        processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
        for content in (parts, "<image> <image>\nWhich digit?")
    ]
    assert chats[0] == chats[1]
    assert " first<image> second<image>Which digit?" in chats[0]


def test_what_is_evicted_is_never_what_the_answer_needs(
    model: LlavaForConditionalGeneration, layout: Layout, packed: PackedLessons
) -> None:
    torch.manual_seed(4)
    is_visual = layout.prefix_ids == model.config.image_token_id
    chosen = torch.arange(int(is_visual.sum())).expand(NUM_CLIPS, -1)
    kept = evict_prefix(is_visual.expand(NUM_CLIPS, -1), chosen, packed, model.config.text_config)
    cells = np.concatenate([places_of_patches() + n * NUM_PLACES for n in range(NUM_SCENES)])
    on_visual = kept[..., is_visual].all(1)
    needed = packed.evidence[1][..., cells]
    assert needed.any()
    assert on_visual[needed].all()
    assert 0.2 < kept.float().mean() < 0.8
    assert not torch.equal(kept[:, 0], kept[:, 1])
