"""Qwen-VL-Chat, the first of its line: a ViT-bigG with a resampler to 256 tokens, and Qwen.

Bai et al., Qwen-VL, 2023 (arXiv:2308.12966). Tower and resampler are the checkpoint's own
``visual.py``, which has to be named in the run file (``model.trust_remote_code``) and imports
torchvision and requests. Its language model's code does not run in transformers 5 (it expects
caches of tuples, and methods that are gone). Up to ``seq_length`` tokens, the first Qwen is a
Qwen2 with other names, and as many key heads as query heads, so its weights are read into that.

Beyond ``seq_length`` (2,048 tokens, or seven pictures) the original stretches its positions by the
length of the whole prompt, questions included, so that prompts on one video have no prefix in
common: such prompts are refused. An answer that runs on past it lacks the original's logarithmic
scaling of attention there, which grows from 1.

A video's frames are shown as pictures; pictures are numbered. The base model, for which every
benchmark writes prompts of its own, is not handled.

Tried against the released code on random weights (logits within 1e-6), and the tokenizer against
tiktoken. Not tried: the released weights, which are pickles: convert them to safetensors first,
with the same names.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import normalizers
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from encodeonce.models.checkpoint.files import (
    CheckpointError,
    read_config,
    read_settings,
    tensors,
    weights_digest,
)
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.checkpoint.parts import filled, load_part, part_weights, settled
from encodeonce.models.checkpoint.remote_code import PinnedCode, check_trusted, code_sha256
from encodeonce.models.family_bases.assembled import AssembledFamily, AssembledVision
from encodeonce.models.language.placeholders import Projected
from encodeonce.models.language.splicing import Piece, counted
from encodeonce.models.spec import ModelSpec, Tap, VisionSpec
from encodeonce.models.vision.preprocessing import SingleImages

_VISUAL = "transformer.visual."
_LAYER_NAMES = {
    "ln_1": "input_layernorm",
    "attn.c_proj": "self_attn.o_proj",
    "ln_2": "post_attention_layernorm",
    "mlp.w1": "mlp.up_proj",
    "mlp.w2": "mlp.gate_proj",
    "mlp.c_proj": "mlp.down_proj",
}
_NAMES = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
# The released tokenizer's way to cut text before merging, and its tokens after the merged ones.
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_MARKS = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>", "<imgpad>")
_ENDS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_SPECIAL = (*_ENDS, *(f"<|extra_{n}|>" for n in range(205)), *_MARKS)
_BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
_AFTER = "<|im_end|>\n<|im_start|>assistant\n"


class QwenVL(AssembledFamily):
    """Each picture and each frame is one image of one size."""

    def fits(self, folder: Path) -> bool:
        """Whether the Qwen of a checkpoint can see."""
        return "visual" in read_config(folder)

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> AssembledVision:
        """Describe the vision side of a checkpoint.

        Raises:
            CheckpointError: the checkpoint's code is not trusted, it is not a chat model, its
                language model is not a Qwen2 by other names, or ``tap: tower`` is asked for.
        """
        _refuse_other_models(folder)
        if vision.tap == "tower":
            raise CheckpointError(
                "vision.tap 'tower': in Qwen-VL the resampler to the language model is part of the "
                "tower. Set vision.tap: projected."
            )
        check_trusted(folder, model)
        return super().vision(folder, model, vision)

    def preprocessing(self, folder: Path) -> SingleImages:
        """Return one square image per frame, whatever its aspect, with CLIP's mean."""
        side = read_config(folder)["visual"]["image_size"]
        return SingleImages(
            image_processor=SiglipImageProcessorPil(
                size={"height": side, "width": side},
                resample=3,
                image_mean=CLIPImageProcessorPil.image_mean,
                image_std=CLIPImageProcessorPil.image_std,
            )
        )

    def tower(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load tower and resampler."""
        visual = PinnedCode(folder, model).load("visual.VisionTransformer")
        tower = filled(visual(**read_config(folder)["visual"]), part_weights(folder, _VISUAL))
        return settled(tower, model)

    def projector(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Return the identity: the resampler is part of the tower."""
        return nn.Identity()

    def language(self, folder: Path, model: ModelSpec, hooks: LoadingHooks) -> tuple[Any, Any]:
        """Load Qwen as a Qwen2, and its tokenizer."""
        weights: dict[str, torch.Tensor] = {}
        for name, read in tensors(folder):
            if not name.startswith(_VISUAL):
                weights |= _as_qwen2(name, read())
        config = self.language_config(folder)
        llm = load_part(Qwen2ForCausalLM, config, weights, model, hooks)
        tokenizer = self.tokenizer(folder)
        llm.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(_ENDS))
        return llm, tokenizer

    def language_config(self, folder: Path) -> Qwen2Config:
        """Return Qwen's configuration as a Qwen2's."""
        return _qwen2_config(read_config(folder))

    def tokenizer(self, folder: Path) -> Any:
        """Make the tokenizer from ``qwen.tiktoken``; it takes ``seq_length`` tokens at most."""
        converter = _Converter(str(folder / "qwen.tiktoken"), _PATTERN, False, list(_SPECIAL))
        converted = converter.converted()
        converted.normalizer = normalizers.NFC()
        return PreTrainedTokenizerFast(
            tokenizer_object=converted,
            eos_token=_ENDS[0],
            pad_token=_ENDS[0],
            model_max_length=read_config(folder)["seq_length"],
        )

    def weights_sha256(self, folder: Path, tap: Tap) -> str:
        """Return the digest of tower and resampler."""
        return weights_digest(folder, ["visual"])

    def tap(self, folder: Path) -> Mapping[str, Any]:
        """Return the digest of the code that is run."""
        return {"code": code_sha256(folder)}

    def prompt(self, tokenizer: Any, media: Sequence[Projected], question: str) -> list[Piece]:
        """Return the ChatML conversation, numbered pictures before the question.

        Raises:
            ValueError: it is longer than the model was trained on.
        """
        images = [tokens for one in media for tokens in one.main]
        if not images:
            return [tokenizer(f"{_BEFORE}{question}{_AFTER}", add_special_tokens=False).input_ids]
        texts = [f"</img>\nPicture {number}: <img>" for number in range(2, len(images) + 1)]
        texts = [f"{_BEFORE}Picture 1: <img>", *texts, f"</img>\n{question}{_AFTER}"]
        first, *others = (tokenizer(text, add_special_tokens=False).input_ids for text in texts)
        pieces: list[Piece] = [first]
        for tokens, behind in zip(images, others, strict=True):
            pieces += [tokens, behind]
        length, most = len(counted(pieces)), tokenizer.model_max_length
        if length > most:
            raise ValueError(
                f"a prompt of {length} tokens: beyond {most} Qwen-VL's positions depend on the "
                f"prompt's length, so nothing could be shared. Show fewer pictures or frames "
                f"(frames.num_frames) of {len(images[0])} tokens each"
            )
        return pieces


class _Converter(TikTokenConverter):
    """Reads the merges without the tiktoken package."""

    @staticmethod
    def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
        lines = Path(tiktoken_url).read_text(encoding="ascii").splitlines()
        pairs = (line.split() for line in lines if line)
        return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _as_qwen2(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a weight under its name in Qwen2."""
    if name in _NAMES:
        return {_NAMES[name]: weight}
    number, _, inner = name.removeprefix("transformer.h.").partition(".")
    module, _, kind = inner.rpartition(".")
    layer = f"model.layers.{number}"
    if module == "attn.c_attn":
        parts = zip("qkv", weight.chunk(3), strict=True)
        return {f"{layer}.self_attn.{part}_proj.{kind}": value for part, value in parts}
    return {f"{layer}.{_LAYER_NAMES[module]}.{kind}": weight}


def _qwen2_config(config: Mapping[str, Any]) -> Qwen2Config:
    return Qwen2Config(
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"] // 2,  # of both halves of the gated unit
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        num_key_value_heads=config["num_attention_heads"],
        vocab_size=config["vocab_size"],
        rms_norm_eps=config["layer_norm_epsilon"],
        max_position_embeddings=config["seq_length"],
        rope_parameters={"rope_type": "default", "rope_theta": float(config["rotary_emb_base"])},
        tie_word_embeddings=False,
    )


def _refuse_other_models(folder: Path) -> None:
    config = read_config(folder)
    generation = read_settings(folder / "generation_config.json")
    width = config["kv_channels"] * config["num_attention_heads"]
    expected = {
        "chat_format of generation_config.json": (generation.get("chat_format"), "chatml"),
        "quantization_config": (config.get("quantization_config"), None),
        "no_bias": (config["no_bias"], True),
        "rotary_pct": (config["rotary_pct"], 1.0),
        "kv_channels * num_attention_heads": (width, config["hidden_size"]),
    }
    for name, (found, handled) in expected.items():
        if found != handled:
            raise CheckpointError(
                f"{folder}: {name} {found!r} is not Qwen-VL-Chat's {handled!r}, which is the only "
                "one handled"
            )


FAMILY = QwenVL(
    model_types=("qwen",),
    tower_name="qwen_vl_visual",
    placeholders=("<img>", "</img>", "<imgpad>"),
)
