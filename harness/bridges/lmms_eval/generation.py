"""Reads a task's ``generation_kwargs``, and refuses what encodeonce does not do."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from encodeonce.models.spec import GenerationSpec


class UnsupportedRequest(ValueError):
    """A task asks for something that encodeonce does not do."""


class Wanted(NamedTuple):
    """How an answer is generated, and where it ends."""

    generation: GenerationSpec
    until: tuple[str, ...]
    """The answer ends before the first of these."""

    def cut(self, text: str) -> str:
        """Return the answer up to a stop string."""
        ends = [text.index(stop) for stop in self.until if stop in text]
        return text[: min(ends)].strip() if ends else text


# Values with which a setting changes nothing under greedy decoding.
_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1, None),
    "num_return_sequences": (1, None),
    "n": (1, None),
    "best_of": (1, None),
    "repetition_penalty": (1, None),
    "length_penalty": (1, None),
    "no_repeat_ngram_size": (0, None),
    "skip_special_tokens": (True,),
    # Tells original LLaVA code to leave pictures to the processor, as is done here.
    "image_aspect_ratio": ("original", None),
}
_ONLY_FOR_SAMPLING = ("top_p", "top_k", "min_p", "typical_p", "seed")
_READ = ("max_new_tokens", "until", "do_sample", "temperature")


def read_generation(kwargs: Mapping[str, Any], default: GenerationSpec, task: str) -> Wanted:
    """Return the meaning of a request's generation_kwargs.

    Args:
        kwargs: a task's, overridden by ``--gen_kwargs``.
        default: used where they say nothing.
        task: named in messages.

    Raises:
        UnsupportedRequest: they ask for sampling, beams, or something unknown.
    """
    _refuse_sampling(kwargs, task)
    for name, value in kwargs.items():
        if name in _READ or name in _ONLY_FOR_SAMPLING or value in _WITHOUT_EFFECT.get(name, ()):
            continue
        known = ", ".join((*_READ, *_WITHOUT_EFFECT, *_ONLY_FOR_SAMPLING))
        allowed = _WITHOUT_EFFECT.get(name)
        hint = (
            f"Type --gen_kwargs {name}={allowed[0]} to evaluate without it."
            if allowed
            else f"Known: {known}."
        )
        raise UnsupportedRequest(
            f"task {task}: encodeonce does not generate with {name}={value!r}. {hint}"
        )
    longest = kwargs.get("max_new_tokens") or default.max_new_tokens
    if not isinstance(longest, int) or longest < 1:
        raise UnsupportedRequest(
            f"task {task}: max_new_tokens must be a whole number of at least 1; got {longest!r}"
        )
    return Wanted(
        generation=default.model_copy(update={"max_new_tokens": longest}),
        until=_stops(kwargs.get("until"), task),
    )


def _refuse_sampling(kwargs: Mapping[str, Any], task: str) -> None:
    """Refuse random sampling; a temperature without sampling does nothing."""
    temperature, do_sample = kwargs.get("temperature"), kwargs.get("do_sample")
    draws = temperature != 0 if do_sample else do_sample is None and bool(temperature)
    if draws:
        raise UnsupportedRequest(
            f"task {task}: it asks for sampling (do_sample={do_sample}, "
            f"temperature={temperature}), and encodeonce answers greedily, so that answers can be "
            "compared. Type --gen_kwargs do_sample=False,temperature=0 to evaluate it greedily."
        )


def _stops(until: Any, task: str) -> tuple[str, ...]:
    stops: Sequence[Any] = [until] if isinstance(until, str) else until or ()
    if not isinstance(stops, (list, tuple)) or not all(isinstance(stop, str) for stop in stops):
        raise UnsupportedRequest(f"task {task}: until must be a text or texts; got {until!r}")
    return tuple(stop for stop in stops if stop)
