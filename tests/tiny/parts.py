"""Parts that all tiny checkpoints are put together from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast


def tiny_tokenizer(named: Mapping[str, str], others: tuple[str, ...] = ()) -> Any:
    """Return a tokenizer of the 256 bytes and special tokens.

    Args:
        named: special tokens that become attributes of the tokenizer, e.g. ``image_token``.
        others: further special tokens.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<pad>", *named.values(), *others]
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=dict(named),
    )


def chat_template(image: str, video: str) -> str:
    """Return a template that writes ``image`` and ``video`` for such parts."""
    return (
        "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: "
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}"
        + image
        + "{% elif part['type'] == 'video' %}"
        + video
        + "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )


def text_shape(tokenizer: Any) -> dict[str, Any]:
    """Return the fields of a small text model's configuration."""
    return {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


VISION_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


def write(folder: Path, model_class: type[PreTrainedModel], config: Any, tokenizer: Any) -> Path:
    """Write a model with random weights of some size, so that logits differ, and a tokenizer."""
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 or not parameter.any():
                parameter.copy_(torch.randn(parameter.shape) * 0.08)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
