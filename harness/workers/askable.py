"""Says whether a question can be asked, before anything is computed for it."""

from collections.abc import Sequence

from encodeonce.models.family import Decoder
from encodeonce.models.language.prefix import Prefix


def can_ask(decoder: Decoder, prompt: str) -> bool:
    """Return whether a model can be asked a question."""
    try:
        decoder.check(prompt)
    except ValueError:  # reported in the sample's own record
        return False
    return True


def reason_against(
    decoder: Decoder, prefix: Prefix, prompt: str, answer: int | Sequence[str]
) -> ValueError | None:
    """Return why a question cannot be asked behind a prefix; None if it can."""
    try:
        decoder.check_behind(prefix, prompt, answer)
    except ValueError as error:
        return error
    return None
