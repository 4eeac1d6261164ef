"""Asking a decoder with a prefill of its own."""

from collections.abc import Sequence
from typing import Any

from encodeonce.models.answer import Generation
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual


def answered(
    decoder: Any, visuals: Sequence[Visual], questions: Sequence[str], generation: GenerationSpec
) -> list[Generation]:
    """Return the full cache's answers."""
    (answers,) = decoder.answer(decoder.prefill(visuals), questions, generation)
    return answers  # type: ignore[no-any-return]


def swept(
    decoder: Any,
    visuals: Sequence[Visual],
    questions: Sequence[str],
    generation: GenerationSpec,
    settings: Sequence[KVSpec],
) -> list[list[Generation]]:
    """Return the answers under each setting."""
    prefix = decoder.prefill(visuals, settings)
    return decoder.answer(prefix, questions, generation, settings)  # type: ignore[no-any-return]
