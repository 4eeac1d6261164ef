"""What a checkpoint's generation_config.json does to logits before a token is chosen.

Greedy decoding is the largest logit, unless the checkpoint asks for more: Qwen-VL's, for one, come
with a repetition penalty. The rules themselves are transformers' own.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import (
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

Rule = Callable[[Any, int, torch.device], LogitsProcessor]
"""Makes a rule from its value, the number of tokens of the prompt, and the device."""

_RULES: dict[str, Rule] = {
    "sequence_bias": lambda bias, *_: SequenceBiasLogitsProcessor(sequence_bias=bias),
    "repetition_penalty": lambda penalty, *_: RepetitionPenaltyLogitsProcessor(penalty),
    "no_repeat_ngram_size": lambda size, *_: NoRepeatNGramLogitsProcessor(size),
    "bad_words_ids": lambda words, *_: NoBadWordsLogitsProcessor(words),
    "suppress_tokens": lambda tokens, _, device: SuppressTokensLogitsProcessor(
        tokens, device=str(device)
    ),
    "begin_suppress_tokens": lambda tokens, begin, device: SuppressTokensAtBeginLogitsProcessor(
        tokens, begin, device=str(device)
    ),
}
"""By the setting's name, in the order in which transformers applies them."""
_NOTHING = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0}
"""Values that ask for nothing, besides None."""
_UNKNOWN = (
    "guidance_scale",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "exponential_decay_length_penalty",
)


def logits_rules(model: Any, num_prompt_tokens: int) -> LogitsProcessorList:
    """Return the rules of a model's generation config for a prompt: mostly none.

    They are for logits on the host, where tokens are chosen by them.

    Args:
        model: of transformers, with ``generation_config``.
        num_prompt_tokens: tokens before the answer.

    Raises:
        NotImplementedError: the config asks for something else than these rules.
    """
    config, host = model.generation_config, torch.device("cpu")
    for name in _UNKNOWN:
        value = getattr(config, name, None)
        if value not in (None, 1, 1.0, 0):
            raise NotImplementedError(
                f"generation_config.json: {name} is {value!r}; answers from stored features can "
                f"be generated without it only. Allowed there: {', '.join(_RULES)}."
            )
    rules = LogitsProcessorList()
    for name, make in _RULES.items():
        value = getattr(config, name, None)
        if value is not None and value != _NOTHING.get(name):
            rules.append(make(value, num_prompt_tokens, host))
    least = getattr(config, "min_new_tokens", None)
    if least and config.eos_token_id is not None:
        rules.append(
            MinNewTokensLengthLogitsProcessor(
                num_prompt_tokens, least, config.eos_token_id, device=str(host)
            )
        )
    return rules
