"""Chat templates: the prompts they make, and those refused before any weights are loaded."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.family import find_family
from encodeonce.models.language.chat import Chat, Slot, load_chat
from tests.contracts.family import spec
from tests.fixtures.tiny.parts import chat_template, tiny_tokenizer, write_no_weights
from tests.fixtures.tiny.qwen_vl import IMAGE, write_tiny_qwen2_vl
from tests.fixtures.tiny_models import CHAT_TEMPLATE, write_tiny_llava
from tests.jobs.scene import make_scene

TEXT_FIRST = (
    "{% for message in messages %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% endfor %}"
)
LENGTH_FIRST = (
    "{% for message in messages %}{{ message['content'] | map(attribute='text') | join | length }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
NO_MEDIA = (
    "{% for message in messages %}{% for part in message['content'] %}{{ part['text'] }}"
    "{% endfor %}{% endfor %}"
)


def chat(template: str, placeholders: dict[str, str] | None = None) -> Chat:
    named = placeholders or {"image": "<image>"}
    return Chat(tiny_tokenizer({"image_token": "<image>"}), template, named)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE,
        chat_template("<start><image><end>", "<video>"),
        CHAT_TEMPLATE.replace("{{ bos_token }}", "{{ bos_token }}You see an image. "),
    ],
)
def test_media_first_is_accepted(template: str) -> None:
    chat(template).check_media_first(Path("a model"))


@pytest.mark.parametrize("template", [TEXT_FIRST, LENGTH_FIRST])
def test_a_question_before_the_media_is_refused(template: str) -> None:
    with pytest.raises(CheckpointError, match="^a model: .*would not begin alike"):
        chat(template).check_media_first(Path("a model"))


def test_a_template_without_media_is_refused() -> None:
    with pytest.raises(CheckpointError, match="writes none of the media placeholders <image>"):
        chat(NO_MEDIA).check_media_first(Path("a model"))


def test_a_kind_that_the_template_does_not_know_is_no_reason_to_refuse_the_other() -> None:
    pictures_only = chat(CHAT_TEMPLATE, {"image": "<image>", "video": "<video>"})
    pictures_only.check_media_first(Path("a model"))
    with pytest.raises(ValueError, match="0 media placeholders"):
        pictures_only.prompt([Slot("video", "frames")], "Where?")


def test_without_a_template_nobody_knows_how_to_ask(tmp_path: Path) -> None:
    folder = write_tiny_qwen2_vl(tmp_path)
    (folder / "chat_template.jinja").unlink()
    family, path = find_family(spec(folder))
    with pytest.raises(CheckpointError, match="has no chat template"):
        family.check_prompts(path)


def test_the_older_place_of_a_template_is_looked_at_too(tmp_path: Path) -> None:
    folder = write_tiny_qwen2_vl(tmp_path)
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").unlink()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="has no chat template"):
        load_chat(folder, tokenizer, {"image": IMAGE})
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert IMAGE in load_chat(folder, tokenizer, {"image": IMAGE}).prompt(
        [Slot("image", IMAGE)], "Where?"
    )


@pytest.mark.parametrize("verb", ["run", "precompute", "eval"])
def test_a_run_is_refused_before_any_media_is_opened(tmp_path: Path, verb: str) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    (scene.folder / "model" / "chat_template.jinja").write_text(TEXT_FIRST)
    (scene.media_root / "0.mp4").write_bytes(b"never read")
    done = scene.execute(verb)
    assert done.exit_code == 1
    assert "encodeonce: " in done.stderr
    assert "the question before the media" in done.stderr
    assert "0.mp4" not in done.output
    assert not scene.output.exists()


def test_weights_are_not_read(tmp_path: Path) -> None:
    folder = write_tiny_llava(tmp_path)
    write_no_weights(folder)
    family, path = find_family(spec(folder))
    family.check_prompts(path)
