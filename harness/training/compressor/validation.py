"""Judges a compressor by answers to held-out questions, as a run would give them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from encodeonce.datasets.media.media import MediaError
from encodeonce.datasets.sample import Benchmark
from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.media import first_in_turn, visuals_of
from encodeonce.harness.workers.session import Session
from encodeonce.models.answer import Generation
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.kv.trained.grouping import group_tokens
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Sum:
    """Over the answers under one setting."""

    num: int = 0
    score: float = 0.0
    kl: float = 0.0
    agreeing: int = 0
    tokens: int = 0
    kept: list[float] = field(default_factory=list)

    def add(self, answer: Generation, score: float) -> None:
        self.num += 1
        self.score += score
        if answer.kv is not None:
            self.kept.append(answer.kv.kept_bytes / answer.kv.full_bytes)
        if answer.fidelity is not None:
            self.kl += answer.fidelity.total_kl
            self.agreeing += answer.fidelity.num_agreeing
            self.tokens += answer.fidelity.num_tokens

    def figures(self) -> dict[str, float | None]:
        return {
            "accuracy": self.score / self.num,
            "kl": self.kl / self.tokens if self.tokens else None,
            "agreement": self.agreeing / self.tokens if self.tokens else None,
            "kept": sum(self.kept) / len(self.kept) if self.kept else 1.0,
        }


class Validator:
    """Asks the held-out questions under the full cache, the compressor, and a random choice."""

    def __init__(
        self,
        config: TrainCompressorConfig,
        session: Session,
        decoder: PrefixDecoder,
        groups: Sequence[MediaGroup],
        benchmarks: Mapping[str, Benchmark],
    ) -> None:
        """Choose the questions: the first of every medium, then the second, and so on."""
        self._config, self._session, self._decoder = config, session, decoder
        self._benchmarks = benchmarks
        self._groups = first_in_turn(groups, config.validation.samples)
        self._visuals: dict[int, list[Visual] | None] = {}

    def measure(self, folder: Path) -> dict[str, dict[str, float | None]]:
        """Return accuracy, KL to the full cache (nats), token agreement and bytes kept.

        Args:
            folder: of a compressor.

        Returns:
            By setting: ``full``, ``ccm``, and ``random`` at no fewer entries than ``ccm``, which is
            its ``keep``: the largest, where media differ in length.
        """
        form = self._config.compressor
        options = {"path": str(folder)}
        ccm = KVSpec(method="ccm", keep=1 / form.factor, scope=form.scope, options=options)
        sums = {name: _Sum() for name in ("full", "ccm", "random")}
        shares = []
        for group, visuals in self._asked():
            prefix = self._decoder.prefill(visuals, [FULL, ccm])
            shares.append(self._share(prefix, group.prompts))
            random = KVSpec(method="random", keep=shares[-1], scope=form.scope)
            table = self._decoder.answer(
                prefix,
                group.prompts,
                self._config.generation,
                [FULL, ccm, random],
                fidelity=True,
            )
            benchmark = self._benchmarks[group.benchmark]
            for one, answers in zip(sums.values(), table, strict=True):
                for sample, answer in zip(group.samples, answers, strict=True):
                    one.add(answer, benchmark.score(sample, answer.text).value or 0.0)
        found = {name: one.figures() for name, one in sums.items()}
        found["random"]["keep"] = max(shares)
        return found

    def _share(self, prefix: Prefix, prompts: Sequence[str]) -> float:
        """Return the largest fraction of the entries that the compressor leaves."""
        flags = list(prefix.opening.is_visual)
        if self._config.compressor.scope == "media":
            return self._left(flags)
        return max(self._left([*flags, *[False] * len(prefix.suffix(one))]) for one in prompts)

    def _left(self, flags: Sequence[bool]) -> float:
        kept = group_tokens(torch.tensor(flags), self._config.compressor).indices
        return len(kept) / len(flags)

    def _asked(self) -> Iterator[tuple[MediaGroup, list[Visual]]]:
        """Yield the groups whose media can be decoded, with them.

        Raises:
            MediaError: none can.
        """
        failed = None
        for number, group in enumerate(self._groups):
            if number not in self._visuals:
                try:
                    self._visuals[number] = visuals_of(self._session, group)
                except MediaError as error:
                    logger.warning("left out of validation: %s", error)
                    self._visuals[number], failed = None, error
            if (visuals := self._visuals[number]) is not None:
                yield group, visuals
        if failed is not None and not any(self._visuals.values()):
            raise failed
