"""Which kernels attend, and how their parts are put together."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.backends import cuda

from encodeonce.models.answer import Generation
from encodeonce.models.kv import waves
from encodeonce.models.kv.kernels import quantised
from encodeonce.models.kv.kernels.parts import Part, aligned, bias_of, part_kernel
from encodeonce.models.kv.kernels.quantised import over_a_copy, quantised_kernel
from encodeonce.models.kv.kernels.recording import recorder_for
from encodeonce.models.kv.layers import units
from encodeonce.models.kv.layers.units import Units
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.kv.storage import Precision, Quantised, store
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.logits import NotedLogits

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
LENGTHS, WIDTH, GROUPS = (70, 9, 33), 16, 2
SCALING = WIDTH**-0.5
QUESTIONS = ("What is shown?", "Where?", "How often does the red circle cross the line?")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """A GPU without memory; yields the kernels that PyTorch says it has."""
    kernels = {"flash", "efficient"}
    monkeypatch.setattr(cuda, "can_use_flash_attention", lambda asked: "flash" in kernels)
    monkeypatch.setattr(cuda, "can_use_efficient_attention", lambda asked: "efficient" in kernels)
    with FakeTensorMode():
        yield kernels


def kernel(dtype: torch.dtype, widths: tuple[int, int], *, is_masked: bool) -> str:
    return part_kernel.__wrapped__(GPU, dtype, widths, is_masked=is_masked)


def test_pytorch_says_which_kernel_fits(gpu: set[str]) -> None:
    assert kernel(torch.bfloat16, (64, 64), is_masked=False) == "flash"
    assert kernel(torch.bfloat16, (64, 64), is_masked=True) == "efficient"
    assert kernel(torch.bfloat16, (20, 20), is_masked=False) == "efficient"
    assert kernel(torch.bfloat16, (64, 32), is_masked=False) == "efficient"
    gpu.remove("flash")
    assert kernel(torch.float32, (64, 64), is_masked=False) == "efficient"
    gpu.remove("efficient")
    assert kernel(torch.float32, (64, 64), is_masked=True) == "products"


@pytest.mark.parametrize("num_queries", [1, 3])
def test_a_bias_has_rows_that_begin_at_multiples_of_sixteen(num_queries: int) -> None:
    visible = torch.rand(2, 1, num_queries, 21) > 0.5
    bias = bias_of(visible, torch.float32)
    for made in (bias, aligned(bias[..., 3:]), aligned(bias[:1, ..., :5].contiguous())):
        assert all(stride % 16 == 0 for stride in made.stride()[:-1])
    assert torch.equal(aligned(bias[..., 3:]), bias[..., 3:])
    assert torch.equal(bias == 0, visible)


def test_other_devices_have_kernels_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert part_kernel(CPU, torch.float32, (64, 64), is_masked=True) == "flash_cpu"
    assert part_kernel(torch.device("mps"), torch.float32, (64, 64), is_masked=True) == "products"
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert kernel(torch.bfloat16, (64, 64), is_masked=False) == "products"
    assert recorder_for(CPU, is_wanted=True) is None
    assert recorder_for(GPU, is_wanted=False) is None


@pytest.mark.parametrize(
    ("difference", "chosen"),
    [(1e-3, "triton"), (0.5, "copy"), (float("nan"), "copy"), (RuntimeError("no ptxas"), "copy")],
)
def test_tritons_kernel_is_used_once_it_has_agreed_with_a_copy(
    monkeypatch: pytest.MonkeyPatch, difference: float | Exception, chosen: str
) -> None:
    def measured(*about: Any) -> float:
        if isinstance(difference, Exception):
            raise difference
        return difference

    monkeypatch.setattr(quantised, "find_spec", lambda name: name)
    monkeypatch.setattr(quantised, "largest_difference", measured)
    assert quantised_kernel.__wrapped__(GPU, torch.float16, 64) == chosen
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    assert quantised_kernel.__wrapped__(GPU, torch.float16, 64) == "copy"


def stored(precision: Precision) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    torch.manual_seed(0)
    keys, values = ([torch.randn(1, n, WIDTH) for n in LENGTHS] for _ in range(2))
    return keys, values


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_copy_is_attended_to_from_each_heads_first_entry(precision: Precision) -> None:
    keys, values = (
        store(pieces, 0, precision, axis)
        for pieces, axis in zip(stored(precision), ("channel", "token"), strict=True)
    )
    queries = torch.randn(len(LENGTHS), 1, 5, WIDTH)
    starts = torch.tensor([max(LENGTHS) - length for length in LENGTHS])
    found = over_a_copy(queries, keys, values, starts, SCALING)
    for head, length in enumerate(LENGTHS):
        mine = [entries.read(0)[head, -length:] for entries in (keys, values)]
        scores = queries[head, 0] @ mine[0].T * SCALING
        assert torch.allclose(found.output[head, 0], scores.softmax(-1) @ mine[1], atol=1e-5)
        assert torch.allclose(found.log_sum[head, 0], scores.logsumexp(-1), atol=1e-5)


@pytest.fixture
def triton_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attend as if by Triton's kernel: to parts of the entries, some of which are empty."""

    def attend(
        queries: torch.Tensor, keys: Quantised, values: Quantised, *about: Any
    ) -> list[Part]:
        copies: list[Any] = [_Unpacked(keys, by_channel=True), _Unpacked(values, by_channel=False)]
        whole = over_a_copy(queries, *copies, *about)
        nothing = Part(torch.zeros_like(whole.output), torch.full_like(whole.log_sum, -torch.inf))
        return [nothing, whole]

    monkeypatch.setattr(units, "quantised_kernel", lambda *about: "triton")
    monkeypatch.setattr(units, "attend_quantised", attend)


class _Unpacked:
    """What is stored, as numbers, by the description of `Quantised` alone."""

    def __init__(self, stored: Quantised, *, by_channel: bool) -> None:
        whole = stored.whole.long()
        if stored.bits == 4:
            whole = torch.stack([whole % 16, whole // 16], dim=-1).flatten(-2)
        numbers = whole * stored.scale.float() + stored.least.float()
        if by_channel:
            numbers = numbers.transpose(2, 3).flatten(1, 2)[:, -stored.num_entries :]
        self._numbers = numbers

    def read(self, num_new: int) -> torch.Tensor:
        return self._numbers


def outputs(precision: Precision, queries: Sequence[torch.Tensor], *, is_fixed: bool) -> Any:
    """Return what some units find after each of several appended states."""
    some = Units(*stored(precision), precision, room=4)
    torch.manual_seed(1)
    found = []
    for number, query in enumerate(queries):
        if number == 1 and is_fixed:
            at = torch.tensor([queries[0].shape[2]])
            some.fix(at)
        if number == 2:
            some.keep([2, 0])
        if number and not some.room_left:
            some.grow(3)
        states = torch.randn(2, len(LENGTHS), query.shape[2], WIDTH)[:, : len(some)]
        some.append(*states)
        found.append(some.attend(query[: len(some)], SCALING))
        if number and is_fixed:
            at.add_(1)
    return found


@pytest.mark.parametrize("is_fixed", [False, True], ids=["as long as needed", "all the room"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_entries_are_read_as_stored(
    triton_twin: None, monkeypatch: pytest.MonkeyPatch, precision: Precision, is_fixed: bool
) -> None:
    """A question is read, then tokens are decoded; rows are dropped, and room grows."""
    torch.manual_seed(2)
    queries = [torch.randn(len(LENGTHS), GROUPS, n, WIDTH) for n in (3, 1, 1, 1)]
    found = outputs(precision, queries, is_fixed=is_fixed)
    monkeypatch.undo()
    for one, other in zip(found, outputs(precision, queries, is_fixed=False), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_tokens_that_are_read_a_step_later_are_the_same(
    decoder: Any, visuals: list[Visual], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU goes on meanwhile: rows that have ended, and entries removed since, change nothing."""
    logits = NotedLogits(monkeypatch)
    settings = (FULL, KVSpec(method="prefixkv", keep=0.3, options={"mode": "paper"}))
    lengths, never = cycle((9, 9, 5)), cycle((True, False, True))

    def answers() -> list[Generation]:
        engine = decoder.engine(GenerationSpec(max_new_tokens=9, max_batch=4), settings)
        engine.ask("", decoder.prefill(visuals, settings), QUESTIONS)
        for row, length, is_endless in zip(engine._seating.rows, lengths, never, strict=False):
            row.answer._max_new_tokens = length
            row.answer._ends = frozenset() if is_endless else row.answer._ends
        return [one for some in engine.finish()[""] for one in some]

    expected = answers()
    assert {5, 9} < {len(one.token_ids) for one in expected}, "one ends by itself, besides"

    class Later(waves.Download):
        def __init__(self, *tensors: torch.Tensor) -> None:
            super().__init__(*(tensor.clone() for tensor in tensors))

    monkeypatch.setattr(waves, "Download", Later)
    monkeypatch.setattr(waves, "_lag", lambda device, rows: 1)
    for one, other in zip(answers(), expected, strict=True):
        logits.assert_close(one, other)
        assert one.kv == other.kv
