"""Measures several adapters in one batch against other ways to the same answers.

All ways answer the same prompts by the same loop (`job.py`), interleaved in every round; a way that
cannot mix adapters has a batch, or several, of each.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch

from encodeonce.harness.bench.adapters.job import Prompt, Taken, Written, written_by
from encodeonce.harness.bench.adapters.operations import count_operations
from encodeonce.harness.bench.adapters.peft_ways import peft_ways
from encodeonce.harness.bench.adapters.result import AdaptersResult, Cell, Measurement
from encodeonce.harness.bench.adapters.tune import this_machine, tune
from encodeonce.harness.bench.adapters.ways import Way, base, batches, copy_merge, ours
from encodeonce.harness.bench.cost_points import CLOCKS, Clock
from encodeonce.harness.bench.costs import clock_of
from encodeonce.harness.bench.scene import Scene, SceneSpec
from encodeonce.harness.serving.adapters.peft_model import has_peft
from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import Adapter, read_adapter
from encodeonce.models.adapters.dispatch import Dispatch, read_table, why_unfit
from encodeonce.models.adapters.merging import MergedWeights
from encodeonce.models.adapters.operators import KINDS, Kind
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.spec import NONE
from encodeonce.models.synthetic.adapters import write_random_adapters

BY_TABLE = "ours, by table"
USUAL = "ours"
"""The way that evaluation takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptersBench:
    """What to measure."""

    scene: SceneSpec
    question: str
    num_adapters: tuple[int, ...]
    """U, of each cell."""
    num_samples: tuple[int, ...]
    """Asked under each adapter."""
    num_tokens: tuple[int, ...]
    """Lengths of an answer."""
    prefix_tokens: int | None
    """Of the prompt; None for all."""
    max_batch: int
    rank: int
    num_rounds: int
    table: Path
    """Dispatch table for 'ours, by table', if it is there."""
    is_tuned: bool
    """Whether the table is measured first, and written."""

    @property
    def cells(self) -> Iterator[tuple[int, int]]:
        """Adapters, and samples of each."""
        for adapters in self.num_adapters:
            for samples in self.num_samples:
                yield adapters, samples


def run_adapters_bench(bench: AdaptersBench, on_run: Callable[[str], None]) -> AdaptersResult:
    """Measure all ways in all cells, after a round that is not counted.

    Args:
        bench: what to measure.
        on_run: called before each run, with the way's name.

    Raises:
        CheckpointError: the model cannot be used.
        AdapterError: nothing can be merged into its weights.
    """
    with closing(Scene(bench.scene)) as scene:
        scene.encode()
        job = _Job(bench, scene, on_run)
        cells = tuple(job.measure(*cell, on_run) for cell in bench.cells)
        return AdaptersResult(
            cells=cells,
            num_prompt_tokens=job.prompt.num_tokens,
            num_linears=job.num_linears,
            adapter_bytes=job.bank.nbytes,
            copy_bytes=job.weights.nbytes,
            clock=job.clock,
            has_peft=has_peft(),
            table=job.table,
        )


class _Job:
    """The model under all ways."""

    def __init__(self, bench: AdaptersBench, scene: Scene, on_run: Callable[[str], None]) -> None:
        self._bench = bench
        decoder = cast(PrefixDecoder, scene.session.decoder_slot.put(NONE))
        self._model = decoder.model
        self.clock: Clock = clock_of(self._model.device)
        self._clock = CLOCKS[self.clock]
        count = max(bench.num_adapters)
        folder = bench.scene.folder.parent / "adapters"
        specs = write_random_adapters(folder, self._model, count, bench.rank)
        adapters = [read_adapter(spec) for spec in specs]
        inputs = decoder.whole_prompt(scene.visuals(), bench.question, "")
        num_given = max(2, *bench.num_tokens)
        self.prompt = Prompt(self._model, inputs, bench.prefix_tokens, num_given)
        peers = peft_ways(self._model, specs) if has_peft() else []
        self.weights = MergedWeights(adapters, self._model)
        self.bank = self._bank(adapters, None)
        kinds = {kind: self._bank(adapters, kind) for kind in KINDS}
        self.num_linears = len(self.bank.module_names)
        self._ways = [
            base(self._model),
            *peers,
            copy_merge(self._model, self.weights),
            ours(self._model, self.bank, USUAL),
            *(ours(self._model, bank, f"ours, {kind}") for kind, bank in kinds.items()),
        ]

        dispatch, self.table = self._dispatch(on_run)
        if dispatch is not None:
            by_table = self._bank(adapters, None, dispatch)
            self._ways.append(ours(self._model, by_table, BY_TABLE))

    def _bank(
        self, adapters: Sequence[Adapter], kind: Kind | None, dispatch: Dispatch | None = None
    ) -> AdapterBank:
        found = AdapterBank(adapters, self._model, kind=kind, dispatch=dispatch)
        found.detach()
        return found

    def _dispatch(self, on_run: Callable[[str], None]) -> tuple[Dispatch | None, str]:
        """Return what chooses by the table, and what is to be said of it."""
        path, bench, model = self._bench.table, self._bench, self._model
        if bench.is_tuned:
            lengths = (1, self.prompt.num_tokens)
            table = tune(
                self.bank.widths, lengths, bench.max_batch, model.dtype, model.device, on_run
            )
            path.write_text(table.model_dump_json() + "\n", encoding="utf-8")
            return Dispatch(table), f"{path.name} was measured just now"
        if not path.exists():
            return None, f"there is no {path.name}: `--tune` measures one"
        table = read_table(path)
        if why := why_unfit(table, this_machine(model.dtype)):
            return None, f"{path.name} is left aside, as it is of another machine: {why}"
        return Dispatch(table), f"{path.name} has {len(table.points)} shapes"

    def measure(self, num_adapters: int, num_samples: int, on_run: Callable[[str], None]) -> Cell:
        """Measure a cell."""
        found = {way.name: Measurement(way=way.name) for way in self._ways}
        written: dict[str, Written] = {}
        for number in range(1 + self._bench.num_rounds):
            for way in self._ways:
                on_run(f"{num_adapters} adapters, {num_samples} samples each: {way.name}")
                taken, written[way.name] = self._run(way, num_adapters, num_samples, found)
                if number:
                    found[way.name].rounds.append(taken)
        reference = next(way.name for way in self._ways if not way.is_mixed)
        for way in self._ways:
            if not way.is_base:
                _compare(found[way.name], written[way.name], written[reference])
        self._count(found, num_adapters)
        return Cell(
            num_adapters=num_adapters,
            num_samples=num_samples,
            ways=found,
            is_sequential={way.name: not way.is_mixed for way in self._ways},
            reference=reference,
        )

    def _run(
        self, way: Way, num_adapters: int, num_samples: int, found: dict[str, Measurement]
    ) -> tuple[Taken, Written]:
        """Answer a cell's whole job once."""
        total, written, row = Taken(), list[Written](), 0
        measurement = found[way.name]
        measurement.num_batches = 0
        way.enter()
        try:
            for numbers in batches(way, num_adapters, num_samples, self._bench.max_batch):
                taken, texts = self.prompt.answer(way, numbers, row, self._clock)
                total.add(taken)
                written.append(texts)
                row += len(numbers)
                measurement.num_batches += 1
                measurement.rows = max(measurement.rows, len(numbers))
        finally:
            way.leave()
        return total, written_by(written)

    def _count(self, found: dict[str, Measurement], num_adapters: int) -> None:
        """Count the operations of a batch's decode step, beyond the base's."""
        counts: dict[str, int] = {}
        for way in self._ways:
            numbers = next(batches(way, num_adapters, 1, self._bench.max_batch))
            way.enter()
            try:
                way.switch(numbers)
                step = partial(self._step, way, numbers)
                step()  # what is computed once for many steps is not a step's
                counts[way.name] = count_operations(step)
            finally:
                way.leave()
        floor = next(counts[way.name] for way in self._ways if way.is_base)
        for name, count in counts.items():
            found[name].operations = (count - floor) / self.num_linears

    def _step(self, way: Way, numbers: Sequence[int]) -> None:
        token = torch.zeros(len(numbers), 1, dtype=torch.long, device=self._model.device)
        with torch.inference_mode(), way.under(numbers):
            way.call(input_ids=token, use_cache=False, **way.arguments(numbers))


def _compare(found: Measurement, mine: Written, reference: Written) -> None:
    """Note how far a way's answers are from the reference's."""
    found.log_prob = float((mine.log_probs - reference.log_probs).abs().max())
    found.flips = int((mine.likeliest != reference.likeliest).sum())
