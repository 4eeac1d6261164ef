"""How many tokens a language model was made for, and the refusal of prompts beyond that.

A model with rotary positions answers longer prompts too, but with rubbish that looks like answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_EXTENDED = ("llama3", "longrope", "su")
"""Scalings whose configurations give ``max_position_embeddings`` after scaling."""


class PromptTooLong(ValueError):
    """Prompt and answer would not fit into the model's context."""


def context_length(config: Any) -> int | None:
    """Return how many positions a language model has; None if its configuration does not say.

    Scaled rotary embeddings count: configurations give ``max_position_embeddings`` before scaling
    (``linear``, ``dynamic``), after it (``llama3``, ``longrope``), or either (``yarn``, which also
    gives the length before). Where layers of different kinds have different embeddings (Gemma 3),
    it is after scaling.

    Args:
        config: of transformers; of the whole model, or of the language model.
    """
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None)
    if not isinstance(length, int) or length < 1:
        return None
    rope = _rope(text)
    kind, factor = rope.get("rope_type", rope.get("type")), rope.get("factor")
    if kind in (*_EXTENDED, None, "default") or not isinstance(factor, int | float):
        return length
    before = rope.get("original_max_position_embeddings") if kind == "yarn" else None
    return max(length, int((before or length) * factor))


def has_three_axes(config: Any) -> bool:
    """Return whether visual tokens have positions in time, height and width.

    Then a prompt takes up fewer positions than it has tokens.
    """
    return "mrope_section" in _rope(config.get_text_config())


def head_shape(config: Any) -> tuple[int, int]:
    """Return a language model's number of layers, and the width of its heads.

    Args:
        config: as `context_length` takes it.
    """
    text = config.get_text_config()
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(text.num_hidden_layers), int(width)


def whole_layers(config: Any) -> tuple[int, ...]:
    """Return the numbers of a language model's layers that have no sliding window.

    Args:
        config: as `context_length` takes it.
    """
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None)
    if kinds is not None:
        return tuple(number for number, kind in enumerate(kinds) if kind != "sliding_attention")
    # Then all layers are of the kind that transformers' cache infers.
    has_window = getattr(text, "sliding_window", None) is not None
    return () if has_window else tuple(range(int(text.num_hidden_layers)))


def check_length(config: Any, num_prompt: int, num_new: int) -> None:
    """Refuse a prompt that does not fit into the model's context together with its answer.

    Args:
        config: as `context_length` takes it.
        num_prompt: positions that the prompt takes up.
        num_new: most tokens of the answer.

    Raises:
        PromptTooLong: it does not.
    """
    length = context_length(config)
    if length is not None and num_prompt + num_new > length:
        raise PromptTooLong(
            f"the prompt takes up {num_prompt:,} positions and the answer up to {num_new:,}, "
            f"together more than the {length:,} that the model was made for "
            "(max_position_embeddings, scaled as config.json says): its answer would be rubbish. "
            "Shorten the question, show fewer frames (frames.num_frames), or lower "
            "generation.max_new_tokens"
        )


def refuse_unknown_tokens(model: Any, token_ids: Sequence[int]) -> None:
    """Refuse tokens for which a model has no embedding: on a GPU, one ends the process.

    Raises:
        ValueError: there is one.
    """
    count, largest = model.get_input_embeddings().weight.shape[0], max(token_ids, default=0)
    if largest >= count:
        raise ValueError(
            f"the tokenizer writes token {largest} for this prompt, and the model has {count} "
            "embeddings: tokenizer and weights are not of one model. Download them together"
        )


def _rope(text: Any) -> Mapping[str, Any]:
    """Return how rotary embeddings are scaled, where all layers have the same."""
    found = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    return found if isinstance(found, Mapping) else {}
