"""Parts of synthetic checkpoints: random weights in any shape, to measure on without a download."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes that every model has: of its language model, and of its tower."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    vocab_size: int
    vision_hidden_size: int
    vision_layers: int
    image_size: int
    """Side of a picture, pixels."""
    patch_size: int

    def text(self) -> dict[str, Any]:
        """Return the language model's sizes, by transformers' names."""
        return {
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "vocab_size": self.vocab_size,
        }

    def vision(self) -> dict[str, Any]:
        """Return the tower's sizes, by transformers' names."""
        return {
            "hidden_size": self.vision_hidden_size,
            "num_hidden_layers": self.vision_layers,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
        }


def random_model(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    dtype: torch.dtype,
    device: torch.device,
) -> Any:
    """Return a model initialised by transformers; on a GPU that takes seconds, not minutes."""
    torch.manual_seed(0)
    with device:
        return model_class._from_config(config, dtype=dtype).eval()


def byte_tokenizer(special: tuple[str, ...], **named: str) -> Any:
    """Return a tokenizer of the 256 bytes, ``<s>``, ``<pad>`` and more special tokens.

    Args:
        special: tokens without a name.
        named: tokens that become attributes, e.g. ``image_token="<image>"``.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    every = ["<s>", "<pad>", *special, *named.values()]
    vocabulary = {token: number for number, token in enumerate([*every, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(every)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        extra_special_tokens=named,
    )


def write_part(
    folder: Path, weights: Mapping[str, torch.Tensor], config: Mapping[str, Any]
) -> None:
    """Write safetensors and the config.json that goes with them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_torch_state_dict(dict(weights), folder)
    write_config(folder, config)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write a config.json."""
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
