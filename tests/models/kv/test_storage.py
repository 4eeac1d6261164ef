"""Entries in memory: exact in the model's precision, close when quantised, of the counted size."""

import pytest
import torch

from encodeonce.models.kv.storage import GROUP, Precision, entry_bytes, store

QUANTISED: list[tuple[Precision, int]] = [("int8", 8), ("int4", 4)]


def entries(num_units: int = 3, num_entries: int = 50, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(num_units, num_entries, width, generator=generator)
    return values * torch.linspace(0.1, 8.0, width)  # channels differ, as keys' do


def test_the_models_precision_is_exact_and_new_entries_follow() -> None:
    given, new = entries(), torch.randn(3, 2, 16)
    held = store([given], room=5, precision="model", axis="channel")
    assert torch.equal(held.read(0), given)
    held.write(0, new)
    assert torch.equal(held.read(2), torch.cat([given, new], dim=1))


@pytest.mark.parametrize("axis", ["channel", "token"])
@pytest.mark.parametrize(("precision", "bits"), QUANTISED)
def test_no_entry_is_off_by_more_than_half_a_step(
    precision: Precision, bits: int, axis: str
) -> None:
    given = entries()
    read = store([given], room=1, precision=precision, axis=axis).read(0)
    if axis == "token":
        spread = given.amax(-1, keepdim=True) - given.amin(-1, keepdim=True)
    else:
        filled = torch.cat([given[:, :1].expand(-1, -50 % GROUP, -1), given], dim=1)
        groups = filled.unflatten(1, (-1, GROUP))
        spread = (groups.amax(2) - groups.amin(2)).repeat_interleave(GROUP, 1)[:, -50:]
    step = spread / (2**bits - 1)
    # Scale and least value are float16: a little more than half a step.
    assert ((read - given).abs() <= 0.5 * step + 0.004 * (spread + given.abs())).all()


@pytest.mark.parametrize("axis", ["channel", "token"])
@pytest.mark.parametrize(("precision", "bits"), QUANTISED)
def test_filling_up_on_the_left_changes_no_entry(
    precision: Precision, bits: int, axis: str
) -> None:
    given = entries()
    filled = torch.cat([given[:, :1].expand(-1, 13, -1), given], dim=1)
    alone = store([given], room=1, precision=precision, axis=axis).read(0)
    together = store([filled], room=1, precision=precision, axis=axis).read(0)
    assert torch.equal(together[:, 13:], alone)


@pytest.mark.parametrize("precision", ["model", "int8", "int4"])
def test_bytes_are_counted_as_they_are_allocated(precision: Precision) -> None:
    given = entries(num_units=1, num_entries=2 * GROUP).to(torch.bfloat16)
    held = [store([given], room=0, precision=precision, axis=axis) for axis in ("channel", "token")]
    allocated = sum(one.allocated_bytes for one in held)
    assert allocated == entry_bytes(2 * GROUP, 16, element_bytes=2, precision=precision)


def test_quantised_new_entries_are_exact() -> None:
    new = torch.randn(3, 4, 16)
    held = store([entries()], room=4, precision="int4", axis="channel")
    held.write(0, new)
    assert torch.equal(held.read(4)[:, -4:], new)
