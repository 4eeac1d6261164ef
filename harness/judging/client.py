"""Asks a judge over HTTP, again with growing pauses where that may help."""

import asyncio
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from encodeonce.harness.run.after.judge_spec import JudgeSpec

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses of refusals that may pass."""
FOR_ALL = frozenset({401, 402, 403, 404, 405})
"""Statuses that every request would meet: the key, the account, the URL or the model is wrong."""


class JudgeError(ValueError):
    """A judge gave no usable reply to one request."""


class JudgeUnusable(ValueError):
    """A judge cannot be asked at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a judge wrote."""

    text: str
    input_tokens: int
    output_tokens: int


def check_judge_client() -> None:
    """Refuse to begin without the client's library.

    Raises:
        JudgeUnusable: it is not installed.
    """
    if find_spec("httpx") is None:
        raise JudgeUnusable(
            'a judge needs httpx, which is not installed; type: pip install "encodeonce[openai]"'
        )


class JudgeClient:
    """Asks one judge. Use as an asynchronous context manager."""

    def __init__(self, spec: JudgeSpec, first_pause_s: float = FIRST_PAUSE_S) -> None:
        """Take the judge.

        Args:
            spec: whom to ask, and how patiently.
            first_pause_s: before the second attempt, about; every further pause is twice as long.
        """
        import httpx

        key = os.environ.get(spec.api_key_env, "")
        try:
            self._client = httpx.AsyncClient(
                base_url=spec.url.rstrip("/") + "/",
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=spec.timeout_s,
                limits=httpx.Limits(max_connections=spec.concurrency),
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise JudgeUnusable(f"judge: the url or the key cannot be sent: {error}") from error
        self._spec, self._pause_s = spec, first_pause_s
        self._http_error, self._bad_url = httpx.HTTPError, httpx.InvalidURL

    async def __aenter__(self) -> "JudgeClient":
        """Return the client."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def ask(self, body: Mapping[str, Any]) -> Reply:
        """Return the reply to a request.

        Raises:
            JudgeError: there is none after all attempts, or it is not a chat completion.
            JudgeUnusable: no request can be answered: the key, the URL or the model is wrong.
        """
        told = ""
        for attempt in range(self._spec.retries + 1):
            wait_s = min(LONGEST_PAUSE_S, self._pause_s * 2**attempt) * random.uniform(0.5, 1.0)
            try:
                response = await self._client.post("chat/completions", json=body)
            except self._bad_url as error:
                raise JudgeUnusable(f"judge: {self._spec.url}: {error}") from error
            except self._http_error as error:
                told = f"{type(error).__name__}: {error}".rstrip(": ")
            else:
                if response.status_code == 200:
                    return _reply(response)
                told = f"status {response.status_code}: {response.text[:200]}"
                if response.status_code in FOR_ALL:
                    raise JudgeUnusable(self._refusal(told))
                if response.status_code not in PASSING:
                    raise JudgeError(told)
                wait_s = max(wait_s, _asked_to_wait(response.headers))
            if attempt < self._spec.retries:
                await asyncio.sleep(wait_s)
        raise JudgeError(f"{told} (after {self._spec.retries + 1} attempts)")

    def _refusal(self, told: str) -> str:
        has_key = bool(os.environ.get(self._spec.api_key_env))
        key = "" if has_key else f" The environment variable {self._spec.api_key_env} is not set."
        return f"judge {self._spec.model} at {self._spec.url}: {told}.{key}"


def _asked_to_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks for, at most `LONGEST_PAUSE_S`."""
    try:
        return min(LONGEST_PAUSE_S, max(0.0, float(headers.get("retry-after", "0"))))
    except ValueError:  # a date
        return LONGEST_PAUSE_S


def _reply(response: Any) -> Reply:
    try:
        content = response.json()
        text = content["choices"][0]["message"]["content"]
        usage = content.get("usage") or {}
        if not isinstance(text, str) or not text.strip():
            why = content["choices"][0].get("finish_reason")
            raise JudgeError(f"the reply is empty (finish reason: {why})")
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        read, written = (one if isinstance(one, int) else 0 for one in counts)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        if isinstance(error, JudgeError):
            raise
        raise JudgeError(f"not a chat completion: {response.text[:80]!r}") from error
    return Reply(text=text, input_tokens=read, output_tokens=written)
