"""One of several decoders that serve a workload together: a plain class, without Ray."""

import asyncio
import threading
from collections.abc import AsyncIterator

from encodeonce.harness.serving.answered import Answered
from encodeonce.harness.serving.cells import Cell, cells_of
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.serving.live import LiveClock, LiveScheduler, LiveSource
from encodeonce.harness.serving.model_engine import ModelServer
from encodeonce.harness.serving.monitor import Monitor
from encodeonce.harness.serving.policy import make_policy
from encodeonce.harness.serving.remote import Piece
from encodeonce.harness.serving.request import Request
from encodeonce.harness.serving.workload import make_workload
from encodeonce.harness.workers.session import Session

NEVER_S = 1e9


class ReplicaError(RuntimeError):
    """A replica could not answer a request."""


class Replica:
    """A decoder with a scheduler, which takes requests of one cell after another.

    One to a process: transformers has one table of attention functions, which models share.
    """

    def __init__(self, config: ServeConfig, known: Answered) -> None:
        """Load the model.

        Args:
            config: the run file.
            known: the samples.
        """
        on_miss = "encode" if config.features == "encode" else "error"
        self._config, self._known = config, known
        self._session = Session(config, on_miss=on_miss)  # type: ignore[arg-type]
        self._server = ModelServer(config, known, self._session)
        self._cells = list(cells_of(config))
        self._running: _Running | None = None

    async def stream(self, cell: int, number: int) -> AsyncIterator[Piece]:
        """Yield the pieces of an answer.

        Args:
            cell: number of the cell; those of the one before have ended.
            number: of the request.

        Raises:
            ReplicaError: the request failed.
        """
        if self._running is None or self._running.number != cell:
            if self._running is not None:
                self._running.close()
            self._running = _Running(cell, self._cells[cell], self)
        pieces = self._running.submit(number)
        while True:
            found = await pieces.get()
            if isinstance(found, str):
                raise ReplicaError(found)
            yield found
            if not found.is_token:
                return


class _Running:
    """The scheduler of a cell, in its thread."""

    def __init__(self, number: int, cell: Cell, replica: Replica) -> None:
        self.number = number
        config = replica._config
        self._server = replica._server
        self._workload = make_workload(
            config, cell.experiment, cell.arrivals, replica._known, self._server.token_bytes
        )
        self._pieces: dict[int, asyncio.Queue[Piece | str]] = {}
        self._loop = asyncio.get_running_loop()
        clock = LiveClock()
        self._source = LiveSource(clock)
        experiment = cell.experiment
        scheduler = LiveScheduler(
            self._source,
            self._server.engine(experiment, self._workload.asked),
            make_policy(config.policy_of(experiment)),
            clock,
            cell.limits,
            Monitor(NEVER_S),
            preempt=config.preempt_of(experiment),
            shares_prefixes=config.shares_prefixes(experiment),
            on_piece=self._send,
            on_end=self._end,
        )
        self._thread = threading.Thread(target=scheduler.run, name="scheduler", daemon=True)
        self._thread.start()

    def submit(self, number: int) -> "asyncio.Queue[Piece | str]":
        """Let a request arrive; return where its pieces come."""
        found = self._pieces[number] = asyncio.Queue()
        self._source.submit(number, self._workload.demands[number])
        return found

    def close(self) -> None:
        """End the thread; no request is on its way."""
        self._source.close()
        self._thread.join()

    def _send(self, request: Request, piece: Piece | str) -> None:
        self._loop.call_soon_threadsafe(self._pieces[request.number].put_nowait, piece)

    def _end(self, request: Request) -> None:
        if request.error is not None:
            self._send(request, request.error)
            return
        text, token_ids = self._server.answer(request)
        self._send(request, Piece(text=text or "", is_token=False, token_ids=tuple(token_ids)))
