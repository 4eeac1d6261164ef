"""What checkpoints with random weights are made of: to measure on any shape without a download."""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast


def random_model(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    dtype: torch.dtype,
    device: torch.device,
) -> Any:
    """Return a model initialised as transformers does; on a GPU that takes seconds, not minutes."""
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
