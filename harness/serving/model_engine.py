"""The engine of wall time: this project's decoder, in this process."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch

from encodeonce.harness.run.record import SampleError
from encodeonce.harness.run.variant import Variant
from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode
from encodeonce.harness.serving.adapters.served import ServedAdapters
from encodeonce.harness.serving.adapters.shelf import AdapterShelf
from encodeonce.harness.serving.answered import Answered, Asked
from encodeonce.harness.serving.cells import Cell
from encodeonce.harness.serving.config import Experiment, ServeConfig
from encodeonce.harness.serving.costs import Costs
from encodeonce.harness.serving.engine import Step, WallClock, Work
from encodeonce.harness.serving.grid import schedule, simulated, terms_of
from encodeonce.harness.serving.monitor import Monitor, Probe
from encodeonce.harness.serving.policy import lora_kind, merges
from encodeonce.harness.serving.probe import machine_probe
from encodeonce.harness.serving.request import Request
from encodeonce.harness.serving.totals import Totals
from encodeonce.harness.serving.workload import Workload
from encodeonce.harness.workers.session import Session
from encodeonce.models.answer import Generation
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.kv.spec import FULL
from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.serving.pool import Served, ServingPool
from encodeonce.models.spec import WeightsSpec
from encodeonce.models.timing import synchronize
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)


class ModelServer:
    """Engines that share a session, and so its store, tower and decoder.

    Attributes:
        token_bytes: keys and values of one token, uncompressed.
        notes: sentences for the report.
    """

    def __init__(
        self, config: ServeConfig, known: Answered, session: Session, costs: Costs | None = None
    ) -> None:
        """Load the first experiment's weights.

        Args:
            config: the run file.
            known: the samples.
            session: to read features from, and to load weights into; with a tower if
                ``config.features`` is "encode".
            costs: by which policies of several adapters decide.

        Raises:
            AdapterError: an adapter cannot be used; or one of the ways to compute them that are
                asked for does not give their answers.
        """
        self._config, self._session, self._costs = config, session, costs
        self._answers: dict[int, Generation] = {}
        self._shelf: AdapterShelf | None = None
        if config.adapters is not None:
            self._shelf = AdapterShelf(config.adapters, known.asked[0].prompt)
        self._title = config.experiments[0].weights.title
        decoder = self._decoder(config.experiments[0].weights)
        self.notes: Sequence[str] = ()
        if self._shelf is not None:
            mine = [one for one in config.experiments if one.weights.title == self._title]
            kinds = [lora_kind(config.policy_of(one)) for one in mine]
            self.notes = list(self._shelf.check(decoder, kinds))
        self._device: torch.device = decoder.model.device
        prefix = decoder.prefill(self.visuals(known.asked[0]), (FULL,))
        self.token_bytes = sum(_token_bytes(layer) for layer in prefix.layers)

    def identity(self, variant: Variant) -> object:
        """Return what is known of the machine."""
        return {"wall": str(self._device), "threads": torch.get_num_threads()}

    def serve(
        self, cell: Cell, workload: Workload, monitor: Monitor
    ) -> tuple[list[Request], Totals]:
        """Serve a cell by the clock."""
        self._answers.clear()
        engine = self.engine(cell.experiment, workload.asked)
        terms = None
        if self._costs is not None and self._config.adapters is not None:
            terms = terms_of(self._config, self._costs)
            engine.seconds = simulated(self._config, cell.experiment, self._costs).seconds
        try:
            source, clock = workload.source(), WallClock()
            return schedule(self._config, cell, source, engine, clock, monitor, terms)
        finally:
            engine.close()

    def engine(self, experiment: Experiment, asked: Sequence[Asked]) -> "ModelEngine":
        """Return an engine with nothing in memory.

        Args:
            experiment: the setting of every request.
            asked: the sample of each request.
        """
        decoder = self._decoder(experiment.weights)
        adapters = None
        if self._shelf is not None:
            adapters = self._shelf.on(decoder)
            policy = self._config.policy_of(experiment)
            decoder = adapters.begin(lora_kind(policy), merges=merges(policy))
        return ModelEngine(
            self._config, experiment, asked, decoder, self.visuals, self._answers, adapters
        )

    def answer(self, request: Request) -> tuple[str | None, Sequence[int]]:
        """Return what a request was answered."""
        found = self._answers.get(request.number)
        return (found.text, found.token_ids) if found else (None, ())

    def probe(self) -> Probe | None:
        """Return what watches this process and its device."""
        return machine_probe(self._device)

    def visuals(self, asked: Asked) -> list[Visual]:
        """Return a sample's media, with features from the store or from the tower."""
        group = asked.group
        found = []
        for ref in group.media:
            request = self._session.look_up(group.root, ref, group.benchmark)
            if self._config.features == "stored":
                found.append(self._session.visual(request))
            else:
                features = self._session.features.encode(request, request.units)
                found.append(Visual(info=request.info, units=request.units, features=features))
        return found

    def close(self) -> None:
        """Delete what was made for adapters."""
        if self._shelf is not None:
            self._shelf.close()

    def _decoder(self, weights: WeightsSpec) -> PrefixDecoder:
        if self._shelf is not None and weights.title != self._title:
            self._shelf.leave()
        self._title = weights.title
        return cast(PrefixDecoder, self._session.decoder_slot.get(weights))


class ModelEngine:
    """Carries out actions on a model, under one experiment."""

    def __init__(
        self,
        config: ServeConfig,
        experiment: Experiment,
        asked: Sequence[Asked],
        decoder: PrefixDecoder,
        visuals: Callable[[Asked], list[Visual]],
        answers: dict[int, Generation],
        adapters: ServedAdapters | None = None,
    ) -> None:
        """Begin with nothing in memory.

        Args:
            config: the run file.
            experiment: the setting of every request.
            asked: the sample of each request.
            decoder: with the experiment's weights.
            visuals: returns a sample's media.
            answers: takes what is answered, by request.
            adapters: on the decoder, where requests are under any.
        """
        self.seconds: Callable[[Work, Sequence[Request], Mode], float] | None = None
        self._adapters = adapters
        self._kv, self._decoder, self._asked = experiment.kv, decoder, asked
        self._visuals_of, self._answers = visuals, answers
        self._keeps_visuals = config.preempt_of(experiment) == "recompute"
        self._is_forced = config.output_tokens.kind != "natural"
        self._shares = config.shares_prefixes(experiment)
        self._pool = ServingPool(decoder.model, decoder.tokenizer)
        self._visuals: dict[int, list[Visual]] = {}
        self._served: dict[int, Served] = {}
        self._emitted: dict[int, list[int]] = {}
        self._resident: dict[str, Prefix] = {}

    def run(self, work: Work, requests: Sequence[Request], mode: Mode = UNMERGED) -> Step:
        """Carry out an action, and wait for the device."""
        synchronize()
        start = time.perf_counter()
        failed: list[tuple[Request, str]] = []
        if self._adapters is not None and work != "encode":
            self._adapters.enter(mode)
        if work == "decode":
            self._pool.decode_only([self._served[one.number] for one in requests])
            self._pool.step()
        else:
            one_by_one = {
                "encode": self._encode,
                "prefill": self._prefill,
                "compress": self._compress,
            }[work]
            for request in requests:
                try:
                    one_by_one(request)
                # A request that cannot be answered must not fail the others.
                except (ValueError, RuntimeError, OSError) as error:
                    logger.info("request %d failed", request.number, exc_info=True)
                    reason = SampleError.of(error)
                    failed.append((request, f"{reason.type}: {reason.message}"))
        synchronize()
        seconds = time.perf_counter() - start
        ended = [one for one in requests if self._has_ended(one)]
        return Step(seconds=seconds, ended=ended, failed=failed)

    def close(self) -> None:
        """Leave the weights as they were."""
        if self._adapters is not None:
            self._adapters.enter(UNMERGED)

    def drop(self, request: Request) -> None:
        """Forget a request's cache; if it is complete, keep the answer, else its tokens."""
        served = self._served.pop(request.number, None)
        if served is None:
            return
        self._pool.drop(served)
        if served.has_ended:
            self._answers[request.number] = self._pool.answer(served)
            self._visuals.pop(request.number, None)
        else:
            self._emitted[request.number] = list(served.row.answer.token_ids)

    def forget(self, media: str) -> None:
        """Forget a prefix that was shared."""
        del self._resident[media]

    @property
    def allocated_bytes(self) -> int:
        """Of keys and values in memory."""
        return self._pool.allocated_bytes(self._resident.values())

    def _encode(self, request: Request) -> None:
        self._visuals[request.number] = self._visuals_of(self._asked[request.number])

    def _prefill(self, request: Request) -> None:
        demand, number = request.demand, request.number
        prefix = self._resident.get(demand.media) if request.is_hit else None
        if prefix is None:
            adapter = BASE if demand.adapter is None else demand.adapter
            prefix = self._decoder.prefill(self._visuals[number], (self._kv,), adapter=adapter)
        if self._shares:
            self._resident[demand.media] = prefix
        if not self._keeps_visuals:
            del self._visuals[number]
        served = self._served[number] = self._pool.read(
            prefix,
            self._asked[number].prompt,
            self._kv,
            demand.max_tokens,
            is_forced=self._is_forced,
            emitted=self._emitted.pop(number, ()),
        )
        self._join(served)

    def _compress(self, request: Request) -> None:
        served = self._served[request.number]
        self._pool.compress(served)
        if self._kv.scope == "media":
            self._pool.read_late(served)
        self._join(served)

    def _join(self, served: Served) -> None:
        if served.is_ready and not served.has_ended:
            self._pool.join(served)

    def _has_ended(self, request: Request) -> bool:
        served = self._served.get(request.number)
        return served is not None and served.has_ended


def _token_bytes(layer: Any) -> int:
    """Return the bytes of a token's keys and values in a layer of transformers' cache."""
    keys: torch.Tensor = layer.keys
    return 2 * keys.shape[1] * keys.shape[3] * keys.element_size()
