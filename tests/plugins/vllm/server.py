"""A real ``vllm serve`` on the loopback, asked by OpenAI's client."""

import base64
import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from PIL import Image

from tests.plugins.vllm.vllm_here import TIMEOUT_S, environment, small

NAME = "the-model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that is ready."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, question: str, *seeds: int) -> str:
        """Ask about noisy pictures, and return the answer."""
        from openai import OpenAI

        pictures = [{"type": "image_url", "image_url": {"url": picture(seed)}} for seed in seeds]
        with OpenAI(base_url=f"{self.url}/v1", api_key="none", timeout=600) as client:
            done = client.chat.completions.create(
                model=NAME,
                messages=[
                    {"role": "user", "content": [*pictures, {"type": "text", "text": question}]}  # type: ignore[list-item,misc]
                ],
                max_tokens=8,
                temperature=0,
            )
        return str(done.choices[0].message.content)

    def counts(self) -> dict[str, int]:
        """Return the connector's counters, from vLLM's own metrics."""
        with urlopen(f"{self.url}/metrics") as response:
            text = response.read().decode()
        found = re.findall(r"^vllm:encodeonce_(\w+)_total\{[^}]*\} ([\d.e+]+)$", text, re.MULTILINE)
        return {name: int(float(value)) for name, value in found}

    def wait_for(self, name: str, count: int) -> dict[str, int]:
        """Wait until a counter has reached a number; a step brings counts one step later."""
        until = time.monotonic() + 60
        while (counts := self.counts()).get(name, 0) < count and time.monotonic() < until:
            time.sleep(0.2)
        return counts


def pictured(seed: int) -> Image.Image:
    """Return a picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def picture(seed: int) -> str:
    """Return a picture as a data URL."""
    buffer = io.BytesIO()
    pictured(seed).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@contextmanager
def serving(model: Path, folder: Path, transfer: dict[str, object] | None) -> Iterator[Server]:
    """Serve a model until the block ends; then by SIGTERM, unless the process is gone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / f"serve-{port}.log"
    options = () if transfer is None else ("--ec-transfer-config", json.dumps(transfer))
    command = [
        # `vllm serve` looks for a distribution called vllm, and that of the CPU build is not.
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", *small(model)),
        *("--served-model-name", NAME),
        *("--host", "127.0.0.1", "--port", str(port), *options),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(url=f"http://127.0.0.1:{port}", process=process, log=log)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(server: Server) -> None:
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            with urlopen(f"{server.url}/health"):
                return
        except (URLError, OSError):
            assert server.process.poll() is None, server.log.read_text()[-4000:]
            assert time.monotonic() < until, server.log.read_text()[-4000:]
            time.sleep(0.5)
