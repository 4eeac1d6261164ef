"""What a decode step asks of a GPU, found without one.

On PyTorch's meta device operations have shapes and no numbers: whatever needs a number on the host,
and so would wait for a GPU, fails. The kernels that PyTorch would choose on a GPU have shapes there
too. `test_recorded_steps.py` is about the numbers.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from encodeonce.models.kv.cohort import Cohort, cohort_behind, cohort_of
from encodeonce.models.kv.forks import Fork, KVLayer
from encodeonce.models.kv.kernels import parts
from encodeonce.models.kv.kernels.parts import PartKernel
from encodeonce.models.kv.methods.prefixkv import FixedPoint
from encodeonce.models.kv.running_batch import RunningBatch
from encodeonce.models.kv.selection import Entries
from encodeonce.models.kv.storage import Precision
from encodeonce.models.language.adapting import BASE

META = torch.device("meta")
NUM_PROMPT = 40


@pytest.fixture(scope="module")
def model(decoder: Any) -> Any:
    return copy.deepcopy(decoder.model).to(META).to(torch.bfloat16)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[PartKernel]]:
    """Choose kernels as on a GPU; yields which were chosen."""
    chosen: list[PartKernel] = []

    def part_kernel(*about: Any, is_masked: bool) -> PartKernel:
        chosen.append("efficient" if is_masked else "flash")
        return chosen[-1]

    monkeypatch.setattr(parts, "part_kernel", part_kernel)
    yield chosen


def entries(model: Any, lengths: Sequence[int]) -> Entries:
    """Return entries without numbers, of the model's heads."""
    config = model.config.get_text_config()
    width = config.hidden_size // config.num_attention_heads
    heads = [lengths[head % len(lengths)] for head in range(config.num_key_value_heads)]
    states = [torch.empty(n, width, device=META, dtype=torch.bfloat16) for n in heads]
    indices = [torch.empty(n, device=META, dtype=torch.long) for n in heads]
    return Entries(keys=tuple(states), values=tuple(states), indices=tuple(indices))


def forks(model: Any, precision: Precision, *, evicts: bool = False) -> Cohort:
    """Return two rows with entries of their own, of lengths that differ by head and layer."""
    layers = range(model.config.get_text_config().num_hidden_layers)
    rows = [
        Fork(
            layers=[
                KVLayer(entries=entries(model, (9 + row, 20 + layer)), window=None)
                for layer in layers
            ],
            is_visual=torch.zeros(NUM_PROMPT, dtype=torch.bool, device=META),
            precision=precision,
            positions="compressed" if evicts else "original",
            eviction=FixedPoint(NUM_PROMPT, [9] * len(layers)) if evicts else None,
            adapter=BASE,
        )
        for row in range(2)
    ]
    return cohort_of(rows, 0, room=4)


def full(model: Any, paddings: Sequence[int] = (0, 0)) -> Cohort:
    """Return rows behind one prefix, some of whose first tokens are padding."""
    states = torch.stack(entries(model, (NUM_PROMPT,)).keys)[None]
    layer = SimpleNamespace(keys=states, values=states, is_sliding=False)
    prefix: Any = SimpleNamespace(
        layers=[layer] * model.config.get_text_config().num_hidden_layers,
        num_tokens=NUM_PROMPT,
        opening=SimpleNamespace(position_offset=0),
        adapter=BASE,
        activation=None,
    )
    return cohort_behind(prefix, paddings, room=4)


COHORTS: dict[str, Callable[[Any], Cohort]] = {
    "full": full,
    "full, padded": lambda model: full(model, (0, 3)),
    "model": lambda model: forks(model, "model"),
    "int8": lambda model: forks(model, "int8"),
    "int4": lambda model: forks(model, "int4"),
}


FROM_THE_HOST = {"aten::lift_fresh", "aten::detach_", "aten::index", "aten::index_put_"}
"""What `torch.tensor` and indexing by a list or a mask come to."""


class NothingFromTheHost(TorchDispatchMode):
    """Refuses what would wait for a GPU, or give it something to wait for."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        devices = {value.device for value in leaves if isinstance(value, torch.Tensor)}
        name = func._schema.name
        assert devices <= {META} and name not in FROM_THE_HOST, f"{name} with the host"
        return result


def steps(batch: RunningBatch, count: int) -> None:
    with batch.decoding(), NothingFromTheHost():
        for _ in range(count):
            batch.step()


@pytest.mark.parametrize("is_fixed", [False, True], ids=["as long as needed", "all the room"])
@pytest.mark.parametrize("name", COHORTS)
def test_a_step_waits_for_nothing(
    model: Any, name: str, is_fixed: bool, as_on_a_gpu: list[PartKernel]
) -> None:
    """Rows join, room grows while they are decoded, and half of them are dropped."""
    batch = RunningBatch(model, num_places=6)
    for first in (0, 2):
        cohort = COHORTS[name](model)
        if is_fixed:
            cohort.cache.fix(META)
        batch.join(cohort, [first, first + 1], torch.zeros(2, dtype=torch.long))
        steps(batch, 3)
    for member in batch._members:
        if is_fixed:
            member.cohort.cache.reserve()
    batch.leave([1])
    steps(batch, 1)
    if name.startswith("full"):
        is_masked = is_fixed or "padded" in name
        assert set(as_on_a_gpu) == ({"flash", "efficient"} if is_masked else {"flash"})


def test_removing_entries_waits_for_nothing(model: Any) -> None:
    batch = RunningBatch(model, num_places=2)
    batch.join(forks(model, "model", evicts=True), [0, 1], torch.zeros(2, dtype=torch.long))
    with batch.decoding():  # positions are sent from the host, which waits for nothing
        for _ in range(6):
            batch.step()
    assert set(batch.removed) == {0, 1}
    assert all(count > 0 for count in batch.removed.values())


@pytest.mark.parametrize(
    "wait",
    [
        lambda states: states[0, 0].item(),
        lambda states: states[states > 0],
        lambda states: states.sum().tolist(),
        lambda states: states + torch.tensor([1.0, 2.0], device=META),
        lambda states: states[[0, 1]],
        lambda states: states.cpu(),
        lambda states: bool((states > 0).all()),
    ],
    ids=["item", "mask", "tolist", "tensor", "list", "cpu", "bool"],
)
def test_what_waits_is_noticed(wait: Callable[[torch.Tensor], Any]) -> None:
    states = torch.zeros(2, 2, device=META)
    with (
        torch.inference_mode(),
        NothingFromTheHost(),
        pytest.raises((RuntimeError, NotImplementedError, AssertionError)),
    ):
        wait(states)
