"""Asks a server that speaks OpenAI's protocol: vLLM, SGLang and others, over streaming HTTP.

Media are sent as PNG pictures, a video as its frames. Needs `pip install "encodeonce[openai]"`.
"""

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from PIL import Image

from encodeonce.harness.run.variant import Variant
from encodeonce.harness.serving.answered import Asked
from encodeonce.harness.serving.cells import Cell
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.serving.monitor import Monitor, Probe
from encodeonce.harness.serving.remote import Piece, RemoteWorkload
from encodeonce.harness.serving.request import Request
from encodeonce.harness.serving.specs import OpenAIEngine
from encodeonce.harness.serving.totals import Totals
from encodeonce.harness.serving.workload import Workload
from encodeonce.harness.workers.session import Session

TIMEOUT_S = 600.0


class ServerError(ValueError):
    """A server refused a request, or what it sent is not the protocol."""


def check_client() -> None:
    """Refuse to begin without the client's libraries.

    Raises:
        ValueError: one is not installed.
    """
    for name in ("httpx", "httpx_sse"):
        if find_spec(name) is None:
            raise ValueError(
                f"engine: kind openai needs {name}, which is not installed; type: pip install "
                '"encodeonce[openai]"'
            )


class OpenAIClient:
    """Asks one server. Use as an asynchronous context manager."""

    def __init__(self, config: ServeConfig, engine: OpenAIEngine, session: Session) -> None:
        """Take what is asked.

        Args:
            config: the run file.
            engine: the server.
            session: decodes media.
        """
        import httpx

        key = os.environ.get(engine.api_key_env, "none")
        self._client = httpx.AsyncClient(
            base_url=engine.url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            limits=httpx.Limits(max_connections=None),
        )
        self._model, self._session = engine.model, session
        self._lengths = config.output_tokens
        self._pictures: dict[str, list[dict[str, Any]]] = {}

    async def __aenter__(self) -> "OpenAIClient":
        """Return the client."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close all connections."""
        await self._client.aclose()

    def prepare(self, asked: Asked) -> None:
        """Decode a sample's media, before the clock runs."""
        if asked.media not in self._pictures:
            group = asked.group
            found = []
            for ref in group.media:
                request = self._session.look_up(group.root, ref, group.benchmark)
                frames = self._session.decoded(request).frames
                found += [_picture(frame) for frame in frames.pixels_THWC]
            self._pictures[asked.media] = found

    def body(self, asked: Asked, max_tokens: int) -> Mapping[str, Any]:
        """Return the body of a request; `prepare` comes first."""
        text = {"type": "text", "text": asked.prompt}
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": [*self._pictures[asked.media], text]}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
        }
        if self._lengths.kind != "natural":
            body["ignore_eos"] = True  # of vLLM and SGLang, not of OpenAI's own
        return body

    async def stream(self, asked: Asked, max_tokens: int) -> AsyncIterator[Piece]:
        """Yield the pieces of an answer as they arrive.

        Raises:
            ServerError: the server refused, or sent something else.
        """
        from httpx_sse import aconnect_sse

        body = self.body(asked, max_tokens)
        async with aconnect_sse(self._client, "POST", "chat/completions", json=body) as events:
            if events.response.status_code != 200:
                await events.response.aread()
                raise ServerError(
                    f"status {events.response.status_code}: {events.response.text[:200]}"
                )
            async for event in events.aiter_sse():
                if event.data == "[DONE]":
                    return
                if piece := _piece(event.data):
                    yield Piece(text=piece)


class OpenAIServer:
    """Serves cells by sending their requests to a server elsewhere."""

    token_bytes = 0
    notes: Sequence[str] = ()

    def __init__(self, config: ServeConfig, engine: OpenAIEngine, session: Session) -> None:
        """Take the run file, the server that it names, and a session that decodes media."""
        self._config, self._engine, self._session = config, engine, session
        self._texts: dict[int, str] = {}

    def identity(self, variant: Variant) -> Any:
        """Return which server it is."""
        return {"openai": self._engine.url, "model": self._engine.model}

    def serve(
        self, cell: Cell, workload: Workload, monitor: Monitor
    ) -> tuple[list[Request], Totals]:
        """Send a cell's requests when they are due."""
        return asyncio.run(self._serve(workload, monitor))

    async def _serve(self, workload: Workload, monitor: Monitor) -> tuple[list[Request], Totals]:
        async with OpenAIClient(self._config, self._engine, self._session) as client:
            for asked in workload.asked:
                client.prepare(asked)

            def stream(request: Request) -> AsyncIterator[Piece]:
                asked = workload.asked[request.number]
                return client.stream(asked, request.demand.max_tokens)

            remote = RemoteWorkload(workload.source(), stream, monitor)
            requests = await remote.run()
        self._texts = remote.texts
        return requests, Totals(ended_s=max(one.ended_s or 0.0 for one in requests))

    def answer(self, request: Request) -> tuple[str | None, Sequence[int]]:
        """Return what the server wrote."""
        return (None if request.error else self._texts[request.number]), ()

    def probe(self) -> Probe | None:
        """Return nothing: the server may be anywhere."""
        return None


def _piece(data: str) -> str:
    """Return the text of a chunk; empty where it has none, as the first and the last."""
    try:
        content = json.loads(data)
        if "error" in content:
            raise ServerError(str(content["error"])[:200])
        choices = content["choices"]
        return str(choices[0]["delta"].get("content") or "") if choices else ""
    except (KeyError, IndexError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ServerError(f"not a chunk of a chat completion: {data[:80]!r}") from error


def _picture(frame_HWC: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(frame_HWC).save(buffer, format="PNG", compress_level=1)
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
