"""Measures what adapters add to a decode step and to a prompt, and what merging one takes.

A step is one pass over a token of each row without a cache: what adapters add does not depend on
how much the rows attend to. Rounds are interleaved over kinds; what is added is the median over
rounds of the difference to the same pass without adapters.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encodeonce.harness.bench.adapters.peft_ways import NAMES, peft_ways
from encodeonce.harness.bench.adapters.ways import Numbers, Way, base, ours
from encodeonce.harness.bench.nnls import fit_relative
from encodeonce.harness.serving.adapters.costs import PEFT, AdapterCosts
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.adapters.peft_model import has_peft
from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.adapters.merging import MergedWeights
from encodeonce.models.adapters.operators import KINDS
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.synthetic.adapters import write_random_adapters
from encodeonce.models.timing import synchronize

ROWS = (1, 2, 4, 8, 16)
PROMPTS = (16, 64, 256)
"""Tokens of a prompt."""
NUM_SWITCHES = 4
_LEAST = 0.01
"""Of a pass without adapters: less than that counts as that much, as nothing is free."""


def measure_adapters(
    model: Any, load: AdaptersLoad, num_rounds: int, clock: Callable[[], float]
) -> AdapterCosts:
    """Return what a load's adapters cost on a model.

    Args:
        model: of transformers; it is as before afterwards.
        load: the section of the run file.
        num_rounds: of which the medians are taken; one more comes first and does not count.
        clock: tells seconds.

    Raises:
        AdapterError: an adapter does not fit the model, or cannot be merged into it.
    """
    with tempfile.TemporaryDirectory(prefix="encodeonce-adapters-") as folder:
        count = min(load.number, max(ROWS))
        specs: Sequence[AdapterSpec] = load.folders[:count]
        if load.random is not None:
            specs = write_random_adapters(Path(folder), model, count, load.random.rank)
        adapters = [read_adapter(spec) for spec in specs]
        peers = peft_ways(model, specs) if has_peft() else []
    weights = MergedWeights(adapters, model)
    ways = {str(kind): ours(model, AdapterBank(adapters, model, kind=kind), kind) for kind in KINDS}
    for way in ways.values():
        way.leave()
    if peers:
        ways[PEFT] = next(way for way in peers if way.name == NAMES[2])
    timing = _Timing(model, num_rounds, clock)
    decode: dict[str, list[_Point]] = {name: [] for name in ways}
    for rows in ROWS:
        for some in _powers(min(rows, count)):
            numbers = [row % some for row in range(rows)]
            for name, seconds in timing.added(ways, numbers, 1).items():
                decode[name].append(((1.0, float(some), float(rows)), seconds))
    alone = {"rows": ways["rows"]}
    prompt = [
        ((1.0, float(length)), timing.added(alone, [0], length)["rows"]) for length in PROMPTS
    ]
    return AdapterCosts(
        rank=max(product.rank for one in adapters for product in one.products.values()),
        switch_s=timing.switch_s(weights, count),
        decode={name: _fitted(points) for name, points in decode.items()},
        prompt=_fitted(prompt),
    )


_Point = tuple[tuple[float, ...], float]
"""Columns of the fit, and seconds."""


def _powers(most: int) -> Iterator[int]:
    """Yield the powers of two up to a number."""
    power = 1
    while power <= most:
        yield power
        power *= 2


def _fitted(points: Sequence[_Point]) -> Any:
    """Return a coefficient for each column, none negative."""
    columns, seconds = zip(*points, strict=True)
    return tuple(float(one) for one in fit_relative(np.array(columns), np.array(seconds)))


class _Timing:
    """Times passes of a model under different ways."""

    def __init__(self, model: Any, num_rounds: int, clock: Callable[[], float]) -> None:
        self._model, self._num_rounds, self._clock = model, num_rounds, clock

    def added(self, ways: dict[str, Way], numbers: Numbers, num_tokens: int) -> dict[str, float]:
        """Return the seconds that each way adds to a pass, at least `_LEAST` of it."""
        plain = base(self._model)
        found: dict[str, list[float]] = {name: [] for name in ways}
        floors = []
        for number in range(1 + self._num_rounds):
            for name, way in ways.items():
                floor = self._pass_s(plain, numbers, num_tokens)
                added = self._pass_s(way, numbers, num_tokens) - floor
                if number:
                    found[name].append(added)
                    floors.append(floor)
        least = _LEAST * statistics.median(floors)
        return {name: max(least, statistics.median(some)) for name, some in found.items()}

    def switch_s(self, weights: MergedWeights, count: int) -> float:
        """Return the median seconds of having another adapter, or none, in the weights."""
        taken = []
        for number in [*range(count), None] * NUM_SWITCHES:
            synchronize()
            start = self._clock()
            weights.switch(number)
            synchronize()
            taken.append(self._clock() - start)
        return statistics.median(taken)

    def _pass_s(self, way: Way, numbers: Numbers, num_tokens: int) -> float:
        tokens = torch.zeros(len(numbers), num_tokens, dtype=torch.long, device=self._model.device)
        arguments = way.arguments(numbers)
        way.enter()
        with torch.inference_mode(), way.under(numbers):
            synchronize()
            start = self._clock()
            way.call(input_ids=tokens, use_cache=False, logits_to_keep=1, **arguments)
            synchronize()
            seconds = self._clock() - start
        way.leave()
        return seconds
