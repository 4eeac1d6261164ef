"""Fills the connector's store ahead of serving: vLLM's encoder alone, on the media of a run.

vLLM's digest of a media item follows from how it loads and decodes the file, so vLLM itself is
asked: an engine whose connector only produces, which holds no language model, and is given each
file as a server is given it, by its address.
"""

import json
import logging
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.harness.bridges.vllm import encoder_store
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import PlannedMedia, make_plan
from encodeonce.models.checkpoint.files import local_checkpoint
from encodeonce.models.vllm.loading import EngineError
from encodeonce.models.vllm.model import ENVIRONMENT

AT_ONCE = 32
"""Media items that vLLM is given together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What the store holds for a server now."""

    num_media: int
    num_before: int
    """Outputs that it held of this server's before."""
    num_now: int
    serve: str
    """The command that starts the server."""


def fill(config: RunConfig, on_media: Callable[[int, int], None]) -> Filled:
    """Encode all media of a run by vLLM, those that the store lacks.

    Args:
        config: of it: the model, the benchmarks, and the store; frames where there are videos.
        on_media: told how many are done, and of how many.

    Raises:
        EngineError: vLLM is not installed, or cannot be given one of the media.
        ValueError: a benchmark is unknown, or its options or files are wrong.
    """
    media = make_plan(config).media()
    arguments = _arguments(config, media)
    if find_spec("vllm") is None:
        raise EngineError(
            "precompute --for vllm needs vLLM, which is not installed; type: pip install vllm, on "
            "a machine without a GPU: make .venv-vllm/installed"
        )
    model = str(local_checkpoint(config.model))
    transfer = _transfer(config, "ec_producer")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm import LLM

    from encodeonce.harness.bridges.vllm.identity import signature_of

    llm = LLM(
        model=model,
        **arguments,
        ec_transfer_config=transfer,
        enforce_eager=True,
        allowed_local_media_path=os.path.commonpath([one.root.resolve() for one in media]),
    )
    digest = signature_of(llm.llm_engine.vllm_config).digest
    before = _num_held(config, digest)
    with _complaints() as complaints:
        try:
            for start in range(0, len(media), AT_ONCE):
                _encode(llm, media[start : start + AT_ONCE])
                on_media(min(start + AT_ONCE, len(media)), len(media))
        finally:
            llm.llm_engine.engine_core.shutdown()  # which waits until everything is durable
    if complaints:
        raise EngineError(f"{complaints[0]}; what was stored is kept: repeat the command")
    return Filled(
        num_media=len(media),
        num_before=before,
        num_now=_num_held(config, digest),
        serve=_serve(model, arguments, _transfer(config, "ec_both")),
    )


def _transfer(config: RunConfig, role: str) -> dict[str, Any]:
    """Return what tells vLLM to use our connector."""
    return {
        "ec_connector": "EncodeOnceConnector",
        "ec_connector_module_path": "encodeonce.harness.bridges.vllm.connector",
        "ec_role": role,
        "ec_connector_extra_config": {"path": str(config.cache.path), "codec": config.cache.codec},
    }


def _arguments(config: RunConfig, media: Sequence[PlannedMedia]) -> dict[str, Any]:
    """Return vLLM's arguments on which its outputs, and its digests, depend.

    Raises:
        EngineError: vLLM does not show a media item as the run does.
    """
    arguments: dict[str, Any] = {"dtype": config.model.dtype}
    for one in media:
        if one.ref.clip_s is not None:
            raise EngineError(
                f"precompute --for vllm: {one.ref.path} is asked about in part, from "
                f"{one.ref.clip_s[0]} s to {one.ref.clip_s[1]} s, and vLLM is given whole files"
            )
    if any(one.ref.kind == "video" for one in media):
        if not isinstance(config.frames, UniformInclusive):
            raise EngineError(
                f"precompute --for vllm: frames.policy is {config.frames.policy!r}, which vLLM "
                "does not have. Allowed: uniform_inclusive"
            )
        arguments["media_io_kwargs"] = {"video": {"num_frames": config.frames.num_frames}}
    return arguments


def _encode(llm: Any, media: Sequence[PlannedMedia]) -> None:
    """Show media items to vLLM, each in a request of its own."""
    from vllm import SamplingParams

    parts = [
        (f"{one.ref.kind}_url", {"url": (one.root / one.ref.path).resolve().as_uri()})
        for one in media
    ]
    chats = [[{"role": "user", "content": [{"type": kind, kind: url}]}] for kind, url in parts]
    llm.chat(chats, SamplingParams(max_tokens=1), use_tqdm=False)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what the connector, which lets a server go on, has to say about its store."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    encoder_store.logger.addHandler(handler)
    try:
        yield found
    finally:
        encoder_store.logger.removeHandler(handler)


def _num_held(config: RunConfig, signature: str) -> int:
    keys = Hdf5Store(config.cache.path / "features").keys()
    return Counter(key.signature for key in keys)[signature]


def _serve(model: str, arguments: Mapping[str, Any], transfer: Mapping[str, Any]) -> str:
    words = ["vllm", "serve", model]
    for name, value in arguments.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words += [f"--{name.replace('_', '-')}", text]
    return shlex.join([*words, "--ec-transfer-config", json.dumps(transfer)])


def said(filled: Filled, folder: Path) -> str:
    """Return in words what was done.

    Args:
        filled: the outcome.
        folder: the store.
    """
    return (
        f"vLLM's encoder outputs in {folder}: {filled.num_now - filled.num_before} new, "
        f"{filled.num_before} were there, {filled.num_media} media in the run.\n"
        f"Serve the model by the same name:\n  {filled.serve}"
    )
