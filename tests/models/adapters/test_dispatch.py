"""The table of the fastest ways: what it chooses, and when it is left aside."""

from pathlib import Path

import pytest
import torch

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.dispatch import (
    Dispatch,
    DispatchTable,
    Machine,
    Point,
    TableError,
    read_table,
    why_unfit,
)
from tests.models.adapters.made import factors, read, widths_of, write
from tests.models.adapters.test_bank import llama, logits

TABLE = DispatchTable(
    device="a",
    torch="2",
    dtype="float32",
    points=(
        Point(shape=(16, 16, 8, 64, 64), seconds={"gather": 1.0, "segment": 2.0}),
        Point(shape=(16, 1, 8, 64, 64), seconds={"gather": 2.0, "segment": 1.0}),
        Point(shape=(1024, 1, 8, 64, 64), seconds={"concat": 1.0}),
    ),
)


def test_the_nearest_shape_in_logarithms_counts() -> None:
    choose = Dispatch(TABLE).choose
    assert list(choose((16, 16, 8, 64, 64))) == ["gather", "segment"]
    assert choose((20, 5, 8, 64, 64))[0] == "gather"
    assert choose((20, 3, 8, 64, 64))[0] == "segment"
    assert choose((129, 1, 8, 64, 64))[0] == "concat"
    assert choose((16, 0, 8, 64, 64))[0] == "segment"


def test_a_table_of_another_machine_says_so() -> None:
    assert not why_unfit(TABLE, Machine("a", "2", "float32"))
    assert why_unfit(TABLE, Machine("b", "3", "float32")) == "device a, here b, torch 2, here 3"


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with pytest.raises(TableError, match="encodeonce bench adapters --tune"):
        read_table(path)
    for content in ("[]", "{", '{"format": "other"}', '{"points": []}'):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(TableError, match="is no dispatch table"):
            read_table(path)
    path.write_text(TABLE.model_dump_json(), encoding="utf-8")
    assert read_table(path) == TABLE


def test_a_bank_computes_as_the_table_says(tmp_path: Path) -> None:
    model = llama()
    weights = factors(widths_of(model, ("q_proj",), "model."), 4)
    adapters = [read(write(tmp_path / f"{n}", weights)) for n in range(2)]
    index = [0, 1, -1, 0, 1]
    bank = AdapterBank(adapters, model)
    with bank.using(index):
        expected = logits(model)
    bank.detach()
    unaligned = Point(shape=(30, 2, 4, 32, 32), seconds={"grouped": 1.0, "concat": 2.0})
    table = TABLE.model_copy(update={"points": (unaligned,)})
    bank = AdapterBank(adapters, model, dispatch=Dispatch(table))
    with bank.using(index):
        torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)
    bank.detach()
    assert bank.widths == [(4, 32, 32)] * 2
