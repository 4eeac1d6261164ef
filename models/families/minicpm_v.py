"""MiniCPM-V-2.6: a SigLIP tower for any size, a resampler to 64 tokens a tile, Qwen2.

Yao et al., MiniCPM-V: A GPT-4V Level MLLM on Your Phone, 2024 (arXiv:2408.01800). The tower and
the resampler are the checkpoint's own Python code, which has to be named in the run file
(``model.trust_remote_code``); the language model is transformers' Qwen2, which that code uses
too. Nothing else of the code is run: its model class and processor no longer load in
transformers 5 (the class lacks ``post_init``). torch no longer exports the names that its resampler
takes from ``torch.nn.functional``, so those are given to it.

As the model's documentation says, pictures are cut into up to nine slices and numbered; frames of
a video into up to two, and not numbered. Every tile is encoded alone; the released code pads all
tiles of a prompt to one length, which changes nothing but the rounding. It also masks every token
with the id 0 (an exclamation mark); that is not copied.

Tried with the released code of tower and resampler on random weights, and against the released
image processor (pixels and marks equal). Not tried: the released weights, tokenizer and chat
template.
"""

import math
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from encodeonce.models.checkpoint.files import (
    CheckpointError,
    read_config,
    read_settings,
    weights_digest,
)
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.checkpoint.parts import filled, load_part, part_weights, settled
from encodeonce.models.checkpoint.remote_code import PinnedCode, check_trusted, code_sha256
from encodeonce.models.family_bases.assembled import AssembledFamily, AssembledVision
from encodeonce.models.language.chat import load_tokenizer
from encodeonce.models.language.placeholders import Projected
from encodeonce.models.language.splicing import Piece
from encodeonce.models.spec import ModelSpec, Tap, VisionSpec
from encodeonce.models.vision.adaptive_slices import Slicing, without_filling

_VERSION = 2.6
_FRAME_SLICES = 2
_TOKEN = "<unk>"
_NAMES = ("<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>", _TOKEN)
OLD_NAMES = MappingProxyType({"List": typing.List, "DType": int, "math": math})  # noqa: UP006
_ENDS = ("<|im_end|>", "<|endoftext|>")


class MiniCPMV(AssembledFamily):
    """Tiles of different sizes, each 64 tokens."""

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> AssembledVision:
        """Describe the vision side of a checkpoint.

        Raises:
            CheckpointError: the checkpoint's code is not trusted, the checkpoint is another version
                of MiniCPM-V, or ``tap: tower`` is asked for.
        """
        version = read_config(folder).get("version")
        if version != _VERSION:
            raise CheckpointError(
                f"{folder}: a MiniCPM-V of version {version}; only {_VERSION} is handled"
            )
        if vision.tap == "tower":
            raise CheckpointError(
                "vision.tap 'tower': tiles of MiniCPM-V have different sizes, and only behind the "
                "resampler equally many tokens. Set vision.tap: projected."
            )
        check_trusted(folder, model)
        return super().vision(folder, model, vision)

    def preprocessing(self, folder: Path) -> Slicing:
        """Return the checkpoint's slicing."""
        settings = read_settings(folder / "preprocessor_config.json")
        slices = settings.get("max_slice_nums", 9) if settings.get("slice_mode", True) else 1
        return Slicing(
            side=settings.get("scale_resolution", 448),
            patch=settings.get("patch_size", 14),
            max_slices={"image": slices, "video": min(slices, _FRAME_SLICES)},
            mean=tuple(settings.get("norm_mean", (0.5, 0.5, 0.5))),
            std=tuple(settings.get("norm_std", (0.5, 0.5, 0.5))),
        )

    def tower(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load tower and resampler."""
        config = read_config(folder)
        code = PinnedCode(folder, model, OLD_NAMES)
        vision = code.load("modeling_navit_siglip.SiglipVisionConfig")(**config["vision_config"])
        flash = model.attention == "flash_attention_2"
        vision._attn_implementation = model.attention if flash else "eager"  # it has no other
        vpm = code.load("modeling_navit_siglip.SiglipVisionTransformer")(vision)
        if config.get("drop_vision_last_layer", True):
            vpm.encoder.layers = vpm.encoder.layers[:-1]
        resampler = code.load("resampler.Resampler")(
            num_queries=config["query_num"],
            embed_dim=config["hidden_size"],
            num_heads=config["hidden_size"] // 128,
            kv_dim=vision.hidden_size,
            adaptive=True,
        )
        filled(vpm, part_weights(folder, "vpm."))
        filled(resampler, part_weights(folder, "resampler."))
        return settled(ResampledTiles(vpm, resampler, vision.patch_size), model)

    def projector(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Return the identity: the resampler is part of the tower."""
        return nn.Identity()

    def language(self, folder: Path, model: ModelSpec, hooks: LoadingHooks) -> tuple[Any, Any]:
        """Load Qwen2 and its tokenizer."""
        config = self.language_config(folder)
        weights = part_weights(folder, "llm.")
        llm = load_part(Qwen2ForCausalLM, config, weights, model, hooks)
        tokenizer = self.tokenizer(folder)
        llm.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(_ENDS))
        return llm, tokenizer

    def language_config(self, folder: Path) -> Qwen2Config:
        """Return Qwen2's configuration: the checkpoint's, under Qwen2's name."""
        return Qwen2Config.from_dict({**read_config(folder), "model_type": "qwen2"})

    def tokenizer(self, folder: Path) -> Any:
        """Load Qwen2's tokenizer; the checkpoint's own class only adds names to it."""
        return load_tokenizer(folder, PreTrainedTokenizerFast)

    def weights_sha256(self, folder: Path, tap: Tap) -> str:
        """Return the digest of tower and resampler."""
        return weights_digest(folder, ["vpm", "resampler"])

    def tap(self, folder: Path) -> Mapping[str, Any]:
        """Return the digest of the code that is run."""
        return {"code": code_sha256(folder)}

    def prompt(self, tokenizer: Any, media: Sequence[Projected], question: str) -> list[Piece]:
        """Return the checkpoint's conversation: each tile between its marks, the question last."""
        shown: list[str] = []
        for one in media:
            numbered = one.info.kind == "image"
            shown.extend(_text(one, len(shown) if numbered else None) for _ in one.main)
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": "\n".join([*shown, question])}],
            tokenize=False,
            add_generation_prompt=True,
        )
        features = [tokens for one in media for tokens in one.main.flatten(0, 1)]
        visual = tokenizer.convert_tokens_to_ids(_TOKEN)
        return _split(tokenizer(text).input_ids, visual, features)


class ResampledTiles(nn.Module):
    """The tower and the resampler, one tile at a time."""

    def __init__(self, vpm: Any, resampler: Any, patch: int) -> None:
        """Wrap the checkpoint's modules."""
        super().__init__()
        self.vpm = vpm
        self.resampler = resampler
        self.patch = patch

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, tokens, D) of (N, 3, H, W) pixels, filled up with NaN."""
        return torch.cat([self._encode(without_filling(tile)) for tile in pixels])

    def _encode(self, tile: torch.Tensor) -> torch.Tensor:
        rows, columns = tile.shape[1] // self.patch, tile.shape[2] // self.patch
        patches = tile.unflatten(2, (columns, self.patch)).unflatten(1, (rows, self.patch))
        # One row of patches: the tower gets rows and columns as an argument.
        strip = patches.permute(0, 2, 1, 3, 4).flatten(2)[None]
        size = torch.tensor([[rows, columns]], dtype=torch.int32)
        hidden = self.vpm(strip, tgt_sizes=size).last_hidden_state
        return torch.as_tensor(self.resampler(hidden, size))


def _text(one: Projected, number: int | None) -> str:
    """Return what stands for a picture, or for a frame of a video."""
    columns, rows = one.recipe["grid"]
    tokens = _TOKEN * one.main.shape[2]
    name = "" if number is None else f"<image_id>{number}</image_id>"
    row = f"<slice>{tokens}</slice>" * columns
    return f"{name}<image>{tokens}</image>" + "\n".join([row] * rows)


def _split(token_ids: list[int], visual: int, features: Sequence[torch.Tensor]) -> list[Piece]:
    """Replace the runs of the visual token by features."""
    pieces: list[Piece] = []
    text: list[int] = []
    waiting = list(features)
    position = 0
    while position < len(token_ids):
        if token_ids[position] != visual:
            text.append(token_ids[position])
            position += 1
            continue
        tokens = waiting.pop(0)
        pieces += [text, tokens]
        text = []
        position += len(tokens)
    assert not waiting
    return [*pieces, text]


FAMILY = MiniCPMV(
    model_types=("minicpmv",), tower_name="minicpmv_siglip_navit", placeholders=_NAMES
)
