"""Serves workloads by replicas on Ray Serve, which places them, routes requests and restarts them.

Needs `pip install "encodeonce[serve]"`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from encodeonce.harness.run.variant import Variant
from encodeonce.harness.serving.answered import Answered
from encodeonce.harness.serving.cells import Cell, cells_of
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.serving.monitor import Monitor, Probe
from encodeonce.harness.serving.remote import Piece, RemoteWorkload
from encodeonce.harness.serving.replica import Replica
from encodeonce.harness.serving.request import Request
from encodeonce.harness.serving.specs import RayEngine
from encodeonce.harness.serving.totals import Totals
from encodeonce.harness.serving.workload import Workload

APPLICATION = "encodeonce-bench-serve"
MOST_ON_THE_WAY = 100_000
"""Requests that Serve hands to a replica: which of them run is for the replica's scheduler."""


@contextmanager
def ray_server(
    config: ServeConfig, engine: RayEngine, known: Answered, address: str | None
) -> Iterator["RayServer"]:
    """Yield a server whose replicas are up; they are taken down at the end.

    Args:
        config: the run file.
        engine: how many replicas, and what each takes.
        known: the samples.
        address: of a Ray cluster; None starts one on this machine.
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(
            address=address or "local",
            include_dashboard=False if not address else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        serve.start(proxy_location="Disabled")
        deployment = serve.deployment(
            num_replicas=engine.replicas,
            max_ongoing_requests=MOST_ON_THE_WAY,
            ray_actor_options={
                "num_cpus": engine.cpus_per_replica,
                "num_gpus": engine.gpus_per_replica,
            },
        )(Replica)
        handle = serve.run(deployment.bind(config, known), name=APPLICATION, route_prefix=None)
        yield RayServer(config, engine, known, handle)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        if is_ours:
            ray.shutdown()


class RayServer:
    """Serves cells by sending their requests to replicas."""

    notes: Sequence[str] = ()

    def __init__(
        self, config: ServeConfig, engine: RayEngine, known: Answered, handle: Any
    ) -> None:
        """Take a deployment's handle."""
        self._engine, self._handle = engine, handle
        self._cells = [cell.name for cell in cells_of(config)]
        self._answers: dict[int, Piece] = {}
        # Known where a compressed variant has been measured; replicas measure it themselves.
        sizes = (
            record.kv.full_bytes // record.num_prompt_tokens
            for record in known.records.values()
            if record.kv is not None
        )
        self.token_bytes = next(sizes, 0)

    def identity(self, variant: Variant) -> Any:
        """Return how many replicas there are."""
        return {"ray": self._engine.replicas}

    def serve(
        self, cell: Cell, workload: Workload, monitor: Monitor
    ) -> tuple[list[Request], Totals]:
        """Send a cell's requests when they are due."""
        return asyncio.run(self._serve(self._cells.index(cell.name), workload, monitor))

    async def _serve(
        self, number: int, workload: Workload, monitor: Monitor
    ) -> tuple[list[Request], Totals]:
        streaming = self._handle.options(stream=True).stream

        async def stream(request: Request) -> AsyncIterator[Piece]:
            async for piece in streaming.remote(number, request.number):
                if not piece.is_token:
                    self._answers[request.number] = piece
                yield piece

        self._answers = {}
        requests = await RemoteWorkload(workload.source(), stream, monitor).run()
        return requests, Totals(ended_s=max(one.ended_s or 0.0 for one in requests))

    def answer(self, request: Request) -> tuple[str | None, Sequence[int]]:
        """Return what a replica wrote."""
        found = self._answers.get(request.number)
        return (found.text, found.token_ids) if found else (None, ())

    def probe(self) -> Probe | None:
        """Return nothing: replicas may be anywhere."""
        return None
