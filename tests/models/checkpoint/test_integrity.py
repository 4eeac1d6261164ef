"""Damaged and incomplete checkpoints are refused before work begins, by the name of the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT, CheckpointError, checkpoint_digest
from encodeonce.models.family import find_family
from encodeonce.models.spec import VisionSpec
from tests.contracts.family import spec

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
WEIGHTS = "model.safetensors"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the demo's model; files are links until they are replaced."""
    copy = tmp_path / "model"
    copy.mkdir()
    for path in DEMO_CHECKPOINT.iterdir():
        (copy / path.name).symlink_to(path)
    return copy


def put(folder: Path, name: str, content: str | bytes) -> None:
    """Replace a file."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def change(folder: Path, name: str, **keys: Any) -> None:
    """Change some keys of a JSON file."""
    put(folder, name, json.dumps({**json.loads((folder / name).read_text()), **keys}))


def shard(folder: Path) -> None:
    """Cut the weights into two files with an index."""
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(weights)
    places = {name: SHARDS[2 * n >= len(names)] for n, name in enumerate(names)}
    for file in SHARDS:
        mine = {name: weights[name] for name in names if places[name] == file}
        save_file(mine, folder / file, {"format": "pt"})
    put(folder, INDEX, json.dumps({"metadata": {}, "weight_map": places}))


def processor(folder: Path, **keys: Any) -> None:
    """Change some keys of the image processor's settings."""
    name = "processor_config.json"
    settings = json.loads((folder / name).read_text())["image_processor"]
    change(folder, name, image_processor={**settings, **keys})


def refusal(folder: Path) -> str:
    """Return why a checkpoint is refused before anything of it is loaded."""
    with pytest.raises(CheckpointError) as raised:
        family, found = find_family(spec(folder))
        family.check_prompts(found)
    words = str(raised.value)
    assert str(folder) in words
    assert "\n" not in words
    return words


@pytest.mark.parametrize(
    "name",
    [WEIGHTS, "config.json", "tokenizer.json", "processor_config.json", "chat_template.jinja"],
)
def test_a_git_lfs_pointer_is_recognised(folder: Path, name: str) -> None:
    put(folder, name, POINTER)
    said = refusal(folder)
    assert f"{folder / name} is a Git LFS pointer of 63 bytes in place of the file itself" in said
    assert f"git -C {folder} lfs pull" in said


def test_pointers_are_counted(folder: Path) -> None:
    put(folder, WEIGHTS, POINTER)
    put(folder, "tokenizer.json", POINTER)
    assert f"{WEIGHTS} is a Git LFS pointer of 63 bytes" in refusal(folder)
    assert "and so is 1 more" in refusal(folder)


def cut(folder: Path, count: int) -> None:
    put(folder, WEIGHTS, (folder / WEIGHTS).read_bytes()[:count])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights cut": (lambda f: cut(f, -5000), f"{WEIGHTS} is cut: it has 11,339,856 of its"),
    "header cut": (
        lambda f: cut(f, 50),
        "is cut: it ends after 50 bytes, in its header",
    ),
    "length cut": (lambda f: cut(f, 5), f"{WEIGHTS} is cut: it ends after 5 bytes, in its header"),
    "no weights": (lambda f: put(f, WEIGHTS, ""), f"{WEIGHTS} is empty"),
    "a page of a web site": (
        lambda f: put(f, WEIGHTS, "<!DOCTYPE html><html>Log in</html>"),
        f"{WEIGHTS} is no safetensors file; it begins with b'<!DOCTYPE html>",
    ),
    "a header of another kind": (
        lambda f: put(f, WEIGHTS, (2).to_bytes(8, "little") + b"[]"),
        f"{WEIGHTS} is no safetensors file: its header cannot be read",
    ),
    "bytes behind the weights": (
        lambda f: put(f, WEIGHTS, (f / WEIGHTS).read_bytes() + b"more"),
        f"{WEIGHTS} is no whole safetensors file",
    ),
    "link to nothing": (
        lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).symlink_to("/nowhere/blob")),
        f"{WEIGHTS} cannot be read: No such file",
    ),
    "a folder of that name": (
        lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()),
        f"{WEIGHTS} is a folder",
    ),
    "another name": (
        lambda f: (f / WEIGHTS).rename(f / "weights.safetensors"),
        "has no model.safetensors; got weights.safetensors",
    ),
    "a LoRA adapter": (
        lambda f: (
            (f / WEIGHTS).rename(f / "adapter_model.safetensors"),
            put(f, "adapter_config.json", "{}"),
        ),
        "is a LoRA adapter (adapter_model.safetensors), not a model",
    ),
    "no index": (
        lambda f: (shard(f), (f / INDEX).unlink()),
        f"has the shard {SHARDS[0]}, but no {INDEX}",
    ),
    "no index, and a shard missing": (
        lambda f: (shard(f), (f / INDEX).unlink(), (f / SHARDS[1]).unlink()),
        f"lacks {SHARDS[1]} of 2 shards",
    ),
    "a shard missing": (
        lambda f: (shard(f), (f / SHARDS[0]).unlink()),
        f"lacks {SHARDS[0]} that {INDEX} names",
    ),
    "a shard of another model": (
        lambda f: (shard(f), save_file({"x": torch.zeros(1)}, f / SHARDS[1])),
        f"{SHARDS[1]} has no ",
    ),
    "an index without a map": (
        lambda f: (shard(f), put(f, INDEX, "{}")),
        f"{INDEX} must have a 'weight_map'",
    ),
    "an index that is a list": (
        lambda f: (shard(f), put(f, INDEX, "[]")),
        f"{INDEX} must hold an object {{…}}; got a list",
    ),
    "deep config": (
        lambda f: put(f, "config.json", "[" * 100_000),
        "config.json: brackets are nested more than 100 deep",
    ),
    "deep tokenizer": (
        lambda f: put(f, "tokenizer.json", '{"model":' * 100_000),
        "tokenizer.json: brackets are nested more than 100 deep",
    ),
    "config a list": (lambda f: put(f, "config.json", "[]"), "config.json must hold an object"),
    "config empty": (lambda f: put(f, "config.json", ""), "config.json: it is empty"),
    "config cut": (
        lambda f: put(f, "config.json", '{"model_type": "ll'),
        "config.json: it is not JSON: Unterminated string",
    ),
    "config in UTF-16": (
        lambda f: put(f, "config.json", (f / "config.json").read_text().encode("utf-16")),
        "config.json: it is not UTF-8",
    ),
    "model type a list": (
        lambda f: change(f, "config.json", model_type=["llava"]),
        "must say the model_type, as a text; got ['llava']",
    ),
    "text config a list": (
        lambda f: change(f, "config.json", text_config=[]),
        "config.json cannot be used: ",
    ),
    "image token beyond the vocabulary": (
        lambda f: change(f, "config.json", image_token_index=100_000),
        "config.json names the token 100000, which the tokenizer lacks",
    ),
    "tokenizer an empty object": (
        lambda f: put(f, "tokenizer.json", "{}"),
        "tokenizer.json is no tokenizer: it has no 'model'; got an empty object",
    ),
    "tokenizer of nothing": (
        lambda f: put(f, "tokenizer.json", '{"model": {}}'),
        "tokenizer.json cannot be used: ",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").unlink(),
        "has no tokenizer: none of tokenizer.json, ",
    ),
    "tokenizer settings a list": (
        lambda f: put(f, "tokenizer_config.json", "[]"),
        "tokenizer_config.json must hold an object",
    ),
    "generation settings a list": (
        lambda f: put(f, "generation_config.json", "[]"),
        "generation_config.json must hold an object",
    ),
    "no image processor": (
        lambda f: (f / "processor_config.json").unlink(),
        "has no image processor: neither preprocessor_config.json nor processor_config.json",
    ),
    "an unknown image processor": (
        lambda f: put(
            f, "processor_config.json", '{"image_processor": {"image_processor_type": 1}}'
        ),
        "processor_config.json cannot be used: ",
    ),
    "template raises": (
        lambda f: put(f, "chat_template.jinja", "{{ raise_exception('no pictures here') }}"),
        "the chat template raised TemplateError: no pictures here",
    ),
    "template unfinished": (
        lambda f: put(f, "chat_template.jinja", "{% for m in messages %}"),
        "the chat template raised TemplateSyntaxError: Unexpected end of template",
    ),
    "ends of answers in words": (
        lambda f: put(f, "generation_config.json", '{"eos_token_id": ["two"]}'),
        "generation_config.json: eos_token_id must be a whole number; got ['two']",
    ),
    "pictures without a size": (
        lambda f: processor(f, size={"height": 0, "width": 0}),
        "processor_config.json cannot be used: ",
    ),
    "a mean that is a word": (
        lambda f: processor(f, image_mean="grey"),
        "processor_config.json cannot be used: ",
    ),
    "a layer that the tower lacks": (
        lambda f: change(f, "config.json", vision_feature_layer=-99),
        "vision_feature_layer -99 is none of the tower's 4; allowed: -5 to 4",
    ),
    "a template that is a number": (
        lambda f: (
            (f / "chat_template.jinja").unlink(),
            change(f, "tokenizer_config.json", chat_template=5),
        ),
        "the chat template must be a text; got 5",
    ),
    "an old template of nothing": (
        lambda f: (
            (f / "chat_template.jinja").unlink(),
            put(f, "chat_template.json", "{}"),
        ),
        "has no chat template",
    ),
    "template divides by nothing": (
        lambda f: put(f, "chat_template.jinja", "{{ 1 / 0 }}"),
        "the chat template raised ZeroDivisionError",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_said_before_anything_is_loaded(folder: Path, damage: str) -> None:
    do, said = DAMAGES[damage]
    do(folder)
    assert said in refusal(folder)


def test_a_checkpoint_in_shards_is_taken(folder: Path) -> None:
    shard(folder)
    family, found = find_family(spec(folder))
    family.check_prompts(found)
    assert family.decoder(found, spec(folder), VisionSpec()).loaded


def test_of_several_templates_the_default_is_taken(folder: Path) -> None:
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": template}]
    change(folder, "tokenizer_config.json", chat_template=named)
    family, found = find_family(spec(folder))
    family.check_prompts(found)


def test_an_unknown_rotary_embedding_is_refused_by_the_file(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    rope = {"rope_type": "spiral", "rope_theta": 1000.0}
    change(folder, "config.json", text_config={**text, "rope_parameters": rope})
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match=r"config.json cannot be used: KeyError: 'spiral'"):
        family.decoder(found, spec(folder), VisionSpec())


def test_a_token_without_an_embedding_is_refused(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokenizer["added_tokens"] += [
        {"id": 512 + n, "content": f"word{n}", **flags} for n in range(200)
    ]
    put(folder, "tokenizer.json", json.dumps(tokenizer))
    family, found = find_family(spec(folder))
    decoder: Any = family.decoder(found, spec(folder), VisionSpec())
    prefix = decoder.prefill([])
    decoder.check_behind(prefix, "What is it?", 4)
    with pytest.raises(ValueError, match=r"writes token \d+ for this prompt, .* 512 embeddings"):
        decoder.check_behind(prefix, "What is word199?", 4)


def test_a_part_in_a_folder_of_its_own_is_checked_too(folder: Path) -> None:
    (folder / "vision_tower").mkdir()
    put(folder / "vision_tower", WEIGHTS, POINTER)
    find_family(spec(folder))  # no part: nothing reads it
    put(folder / "vision_tower", "config.json", "{}")
    assert f"vision_tower/{WEIGHTS} is a Git LFS pointer" in refusal(folder)


def test_a_file_in_place_of_its_folder_is_told_so(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=f"is a file; give the folder it is in: {folder}$"):
        find_family(spec(folder / WEIGHTS))


def test_what_a_hub_repository_needs_is_typed(monkeypatch: Any, folder: Path) -> None:
    put(folder, "config.json", "[]")
    monkeypatch.setattr(
        "encodeonce.models.checkpoint.files.snapshot_download", lambda *_, **__: str(folder)
    )
    with pytest.raises(CheckpointError, match=r"Type: hf download org/name --force-download$"):
        find_family(spec(Path("org/name")))


def test_a_file_is_checked_again_once_it_has_changed(folder: Path) -> None:
    find_family(spec(folder))
    put(folder, "tokenizer.json", "{}")
    assert "is no tokenizer" in refusal(folder)


def spoil(folder: Path, part: str, value: float) -> str:
    """Put a value into one weight of a part; return the weight's name."""
    weights = load_file(folder / WEIGHTS)
    name = next(name for name in sorted(weights) if part in name and weights[name].ndim > 1)
    weights[name].view(-1)[3] = value
    (folder / WEIGHTS).unlink()
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    return name.partition("layers.")[2]  # what precedes it is named otherwise once it is loaded


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(folder: Path, value: float) -> None:
    name = spoil(folder, "language_model.model.layers.1", value)
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match=rf"{name} holds NaN or infinity as float32"):
        family.decoder(found, spec(folder), VisionSpec())
    with pytest.raises(CheckpointError, match=rf"{name} holds NaN or infinity as float32"):
        family.reference(found, spec(folder))
    family.vision(found, spec(folder), VisionSpec()).load()  # another part


def test_a_tower_that_is_no_numbers_is_refused(folder: Path) -> None:
    spoil(folder, "vision_tower", float("nan"))
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match="vision_tower.* holds NaN or infinity"):
        family.vision(found, spec(folder), VisionSpec()).load()


def test_what_does_not_fit_float16_is_told_apart(folder: Path) -> None:
    spoil(folder, "language_model.model.layers.1", 1e6)
    half = spec(folder).model_copy(update={"dtype": "float16"})
    family, found = find_family(half)
    with pytest.raises(CheckpointError, match="do not fit float16: write model.dtype: bfloat16"):
        family.decoder(found, half, VisionSpec())


def test_weights_of_another_shape_are_named(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    change(folder, "config.json", text_config={**text, "intermediate_size": 96})
    family, found = find_family(spec(folder))
    for load in (
        lambda: family.decoder(found, spec(folder), VisionSpec()),
        lambda: family.reference(found, spec(folder)),
    ):
        with pytest.raises(CheckpointError, match=r"mlp.*_proj.weight is stored as \(.*256, 256"):
            load()


def test_the_digest_does_not_depend_on_the_checks(folder: Path) -> None:
    calls: list[Path] = []
    checkpoint_digest(folder, lambda path: (calls.append(path), "0")[1])
    assert {path.name for path in calls} == {path.name for path in folder.iterdir()}
