"""Bytes kept, on two answers worked out by hand."""

from dataclasses import replace

import pytest

from encodeonce.harness.results.kv_bytes import summarize_cache_size
from tests.harness.records import record, use


def test_ratios_are_averaged_and_bytes_added_up() -> None:
    half = use(50, visual=20, layers=(0.8, 0.2))
    longer = replace(
        use(50, visual=20, layers=(0.4, 0.2)),
        full_bytes=300,
        full_visual_bytes=140,
        full_end_bytes=380,
        end_bytes=130,
    )
    found = summarize_cache_size([record("a", kv=half), record("b", kv=longer), record("c")])
    assert found is not None
    assert found["num_answers"] == 2
    assert found["keep_mean"] == pytest.approx((1 / 2 + 1 / 6) / 2)
    assert found["keep"] == pytest.approx(100 / 400)
    assert found["keep_visual"] == pytest.approx(40 / 200)
    assert found["keep_text"] == pytest.approx(60 / 200)
    assert found["keep_end"] == pytest.approx(200 / 500)
    assert found["keep_by_layer"] == pytest.approx([0.6, 0.2])


def test_a_full_cache_has_no_size_of_its_own() -> None:
    assert summarize_cache_size([record("a")]) is None
