"""Trains and measures the adapters of a fusion; what is there already is not done again."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encodeonce.cache_store import durable
from encodeonce.datasets.sample import Benchmark
from encodeonce.harness.results.intervals import Z_95, Z_ONE_SIDED_95, clustered_mean
from encodeonce.harness.run.output_error import writing
from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.training.adapter.judge import Judge
from encodeonce.harness.training.adapter.train import (
    FACTS,
    asked,
    questions_of,
    train_beside,
)
from encodeonce.harness.training.folder import TrainingFolder, parsed
from encodeonce.harness.training.fusion.config import FuseConfig
from encodeonce.harness.training.fusion.packing import Mark
from encodeonce.harness.training.ranks import Ranks
from encodeonce.harness.workers.session import Session
from encodeonce.models.adapters.checkpoint import ADAPTER_FILES, LowRank, read_adapter
from encodeonce.models.adapters.combining import How, combined
from encodeonce.models.adapters.form import LoraForm
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.adapters.writing import write_adapter
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.adapting import BASE

OnWork = Callable[[str], None]
"""Called with words about what is done next, and about steps."""
BASE_NAME = "none"
ONE_FOR_ALL = "all"
_MARKS = "check.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What judges, by unit."""

    groups: Sequence[MediaGroup]
    benchmarks: Mapping[str, Benchmark]
    sha256: Mapping[str, str]


class FusionWork:
    """The adapters of a fusion, by name, each in a folder."""

    def __init__(
        self,
        config: FuseConfig,
        session: Session,
        decoder: PrefixDecoder,
        checks: Checks,
        on_work: OnWork,
    ) -> None:
        """Take what adapters are trained beside and judged by.

        Args:
            config: the run file.
            session: finds media and features.
            decoder: of the base.
            checks: the questions that judge.
            on_work: called with what is done next.
        """
        self._config, self._session, self._decoder = config, session, decoder
        self._checks, self._say = checks, on_work
        tokens = config.data.answer_tokens
        self._judge = Judge(
            session, decoder, checks.groups, checks.benchmarks, config.generation, tokens
        )
        self.floors: dict[str, float] = {}

    def folder(self, name: str) -> Path:
        """Return the folder of an adapter."""
        return Path(self._config.output) / "trainings" / name

    def train(self, start: str | None, members: Sequence[str]) -> str:
        """Train an adapter of some units, begun with the one of others or with nothing."""
        warm = start if self._config.restart == "warm" else None
        units = 1 if warm is not None else len(members)
        return self._train("+".join(members), members, units, warm)

    def train_for_all(self) -> str:
        """Train one adapter of all units from nothing, in as many steps as they have together."""
        members = [unit.name for unit in self._config.units]
        return self._train(ONE_FOR_ALL, members, len(members), None)

    def merge(self, singles: Sequence[str], how: How, weight: float) -> str:
        """Merge single adapters in weight space."""
        name = f"{how}@{'mean' if weight < 1 else 'sum'}"  # which no unit is called
        folder = self.folder(name)
        adapters = [read_adapter(self._spec(one)) for one in singles]
        rank = len(singles) * self._config.lora.r if how == "cat" else self._config.max_rank
        form = LoraForm(r=rank, alpha=rank, target_modules=self._config.lora.target_modules)
        digest = _digest([self._files(one) for one in singles], how, weight, form.r)
        if not (folder / "merged.json").exists() or _read(folder / "merged.json") != digest:
            self._say(f"merging {name}")
            products = combined([one.products for one in adapters], how, weight, form.r)
            self._write_merged(folder, products, form, digest)
        return name

    def marks(self, adapter: str, members: Sequence[str]) -> dict[str, Mark]:
        """Return how well units are answered under an adapter, or under `BASE_NAME`."""
        path = self.folder(adapter) / _MARKS
        known: dict[str, Any] = {}
        if path.exists():
            known = parsed(path, "Delete it, and repeat the command")
        identity = self._files(adapter)
        wanted = {name: [identity, self._checks.sha256[name]] for name in members}
        missing = [name for name in members if known.get(name, {}).get("of") != wanted[name]]
        if missing:
            self._say(f"asking about {', '.join(missing)} under {adapter}")
            for name, mark in self._measured(adapter, missing).items():
                known[name] = {"of": wanted[name], **mark}
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                text = json.dumps(known, indent=2) + "\n"
                durable.replace(text.encode(), path, path.parent)
        return {name: self._mark(name, known[name]) for name in members}

    def _mark(self, name: str, known: Mapping[str, Any]) -> Mark:
        bound = known["accuracy"] if self._config.accept == "point" else known["lower"]
        return Mark(
            accuracy=known["accuracy"],
            bound=bound,
            floor=self.floors.get(name, 0.0),
            num_questions=known["num_questions"],
        )

    def _measured(self, adapter: str, units: Sequence[str]) -> dict[str, dict[str, Any]]:
        number = BASE
        if adapter != BASE_NAME:
            self._decoder.load_adapters([self._spec(adapter)])
            number = 0
        try:
            marks = self._judge.marks(number, units)
        finally:
            self._decoder.drop_adapters()
        found = {}
        for name, one in marks.items():
            whole = clustered_mean(one.scores, one.clusters, Z_95)
            lower = clustered_mean(one.scores, one.clusters, Z_ONE_SIDED_95)
            assert whole is not None and lower is not None
            found[name] = {
                "accuracy": whole.mean,
                "low": whole.low,
                "high": whole.high,
                "lower": lower.low,
                "num_questions": whole.num_samples,
            }
        return found

    def _train(self, name: str, members: Sequence[str], units: int, start: str | None) -> str:
        path = self.folder(name)
        begin = None if start is None else str(self.folder(start))
        steps = self._config.steps_per_unit * units
        seed = int(_digest(sorted(members), start, self._config.optim.seed)[:8], 16)
        config = self._config.training(list(members), path, steps, seed, begin)
        questions = questions_of(config, self._session)
        with TrainingFolder(path) as folder:
            folder.create(asked(config, questions, self._session))
            if (path / FACTS).exists():
                return name
            began_s = time.monotonic()

            def on_step(done: int, total: int, words: str) -> None:
                left_s = (time.monotonic() - began_s) / done * (total - done)
                self._say(
                    f"training {name}: step {done} of {total} · {words} · {left_s:.0f} s left"
                )

            train_beside(self._decoder, config, questions, self._session, folder, Ranks(), on_step)
        return name

    def _write_merged(
        self, folder: Path, products: Mapping[str, LowRank], form: LoraForm, digest: str
    ) -> None:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in ADAPTER_FILES:
                (folder / name).unlink(missing_ok=True)
            write_adapter(folder, products, form, self._config.model.path)
            text = json.dumps({"digest": digest}) + "\n"
            durable.replace(text.encode(), folder / "merged.json", folder)

    def _spec(self, name: str) -> AdapterSpec:
        return AdapterSpec(path=str(self.folder(name)), label="judged")

    def _files(self, name: str) -> str:
        """Return the digest of what answers: an adapter's files, or the base's."""
        of = [self._session.checkpoint_sha256(), self._config.weights.title]
        of.append(json.dumps(self._config.generation.model_dump(mode="json")))
        if name != BASE_NAME:
            of += [
                hashlib.sha256((self.folder(name) / file).read_bytes()).hexdigest()
                for file in ADAPTER_FILES
            ]
        return _digest(*of)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> str:
    return str(parsed(path, "Delete it, and repeat the command").get("digest"))


def as_json(mark: Mark) -> dict[str, Any]:
    """Return a mark as a line's part."""
    return {**asdict(mark), "met": mark.is_met}
