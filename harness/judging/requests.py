"""What a judge is sent about an answer, and what sending all of it may cost."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from encodeonce.cache_store.signature import canonical_json
from encodeonce.datasets.rubric import Rubric
from encodeonce.harness.run.after.judge_spec import JudgeSpec
from encodeonce.harness.run.after.verdict import JudgeIdentity
from encodeonce.harness.run.record import Record

BYTES_PER_TOKEN = 4
"""Of text in UTF-8, about: what tokenizers of the field make of English."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    """A request about one answer."""

    record: Record
    rubric: Rubric
    judge: JudgeIdentity
    body: dict[str, Any]
    """Of a chat completion."""

    @property
    def sha256(self) -> str:
        """Digest of the body: of question, reference, answer, prompt, model and settings."""
        return hashlib.sha256(canonical_json(self.body).encode()).hexdigest()


def settings_of(spec: JudgeSpec) -> dict[str, Any]:
    """Return the keys of a request that are the same for all answers, beside the model."""
    ours = {"temperature": spec.temperature, "max_tokens": spec.max_tokens}
    return {name: value for name, value in {**ours, **spec.body}.items() if value is not None}


def identity_of(spec: JudgeSpec, rubric: Rubric) -> JudgeIdentity:
    """Return who judges, and how."""
    return JudgeIdentity(model=spec.model, rubric_sha256=rubric.sha256, settings=settings_of(spec))


def request_about(spec: JudgeSpec, rubric: Rubric, message: str, record: Record) -> JudgeRequest:
    """Return the request about an answer.

    Args:
        spec: the judge.
        rubric: of the benchmark.
        message: what `Rubric.ask` makes of the answer.
        record: the answer.
    """
    # A lone surrogate, of a damaged answer, is no JSON; the judge sees a replacement mark.
    told = message.encode("utf-8", "replace").decode()
    body = {
        "model": spec.model,
        "messages": [
            {"role": "system", "content": rubric.system},
            {"role": "user", "content": told},
        ],
        **settings_of(spec),
    }
    return JudgeRequest(record=record, rubric=rubric, judge=identity_of(spec, rubric), body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What requests may cost, before they are sent."""

    num_requests: int
    input_tokens: int
    """About."""
    output_tokens: int
    """At most, where the longest reply is ours to set."""
    price: float | None
    """In the currency of `JudgePrice`; None if no price is known."""


def estimate(spec: JudgeSpec, requests: Iterable[JudgeRequest]) -> Estimate:
    """Return what requests may cost if every reply is as long as it may be."""
    bodies = [request.body for request in requests]
    read = sum(-(-_size_bytes(body["messages"]) // BYTES_PER_TOKEN) for body in bodies)
    longest = _longest_reply(spec)
    written = longest * len(bodies)
    price = spec.price.of(read, written) if spec.price else None
    return Estimate(num_requests=len(bodies), input_tokens=read, output_tokens=written, price=price)


def _longest_reply(spec: JudgeSpec) -> int:
    settings = settings_of(spec)
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(value := settings.get(name), int):
            return value
    return spec.max_tokens


def _size_bytes(messages: Sequence[dict[str, str]]) -> int:
    return sum(len(message["content"].encode()) for message in messages)
