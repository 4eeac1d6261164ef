"""The matrix of a run: what is compared with what, on records made by hand."""

import pytest

from encodeonce.harness.results.matrix import reference_variant, summarize_variants
from encodeonce.harness.run.record import Record, SampleError
from encodeonce.harness.run.variant import BASELINE, Variant
from encodeonce.models.answer import LoadedWeights
from tests.harness.records import record, use

SAMPLES = ("a1", "a2", "b1", "b2")
VARIANTS = [Variant(weights, kv) for weights in ("none", "nf4") for kv in ("full", "x@0.5")]


def records(variant: str, scores: tuple[float, ...], **changes: object) -> list[Record]:
    return [
        record(
            sample,
            variant,
            text="yes" if score else "no",
            token_ids=(1, 2) if score else (3, 2),
            num_generated_tokens=2,
            num_prompt_tokens=50,
            score=score,
            **changes,
        )
        for sample, score in zip(SAMPLES, scores, strict=True)
    ]


@pytest.fixture
def matrix() -> list[Record]:
    return [
        *records("none/full", (1, 1, 1, 0)),
        *records("none/x@0.5", (1, 0, 1, 1), kv=use(50)),
        *records("nf4/full", (1, 1, 0, 0), peak_bytes=9),
        *records("nf4/x@0.5", (0, 0, 0, 0), kv=use(25)),
    ]


def test_a_cache_variant_is_compared_with_the_baseline_and_with_its_own_full_cache(
    matrix: list[Record],
) -> None:
    found = summarize_variants(matrix, VARIANTS)
    assert found["reference"] == "none/full"
    cells = {name: one["benchmarks"]["b"] for name, one in found["variants"].items()}
    assert cells["none/full"]["against"] == {}
    assert cells["none/full"]["fidelity"] is None
    assert list(cells["none/x@0.5"]["against"]) == ["none/full"]
    assert list(cells["nf4/full"]["against"]) == ["none/full"]
    assert list(cells["nf4/x@0.5"]["against"]) == ["none/full", "nf4/full"]
    flips = cells["none/x@0.5"]["against"]["none/full"]
    assert (flips["mean"], flips["num_worse"], flips["num_better"]) == (0.0, 1, 1)
    # Both exact: two samples changed, one each way.
    assert flips["mcnemar_p"] == 1.0
    assert cells["nf4/x@0.5"]["against"]["nf4/full"]["mean"] == pytest.approx(-0.5)
    assert cells["nf4/x@0.5"]["against"]["none/full"]["num_worse"] == 3


def test_texts_are_compared_with_the_same_weights_full_cache(matrix: list[Record]) -> None:
    found = summarize_variants(matrix, VARIANTS)
    cells = {name: one["benchmarks"]["b"] for name, one in found["variants"].items()}
    assert cells["nf4/x@0.5"]["fidelity_to"] == "nf4/full"
    assert cells["nf4/x@0.5"]["fidelity"]["exact_match"] == 0.5
    assert cells["nf4/full"]["fidelity_to"] == "none/full"
    assert cells["nf4/full"]["fidelity"]["exact_match"] == 0.75
    assert cells["none/full"]["kv"] is None
    assert cells["nf4/x@0.5"]["kv"]["keep"] == 0.25


def test_speed_is_that_of_the_batch_and_counts_the_tokens_that_were_decoded() -> None:
    # A batch's seconds are shared out evenly, whoever wrote how much.
    wrote = {
        "none/full": (9, 1.0),
        "none/x": (3, 0.5),
        "none/y": (5, 0.5),
        "nf4/y": (7, 3.0),
        "nf4/z": (1, 0.0),
    }
    some = [
        record("a1", variant, num_generated_tokens=count, seconds={"generate": seconds})
        for variant, (count, seconds) in wrote.items()
    ]
    found = summarize_variants(some, [Variant.parse(name) for name in wrote])
    speeds = [one["benchmarks"]["b"]["decode_tokens_per_s"] for one in found["variants"].values()]
    # The first token of an answer comes from the prefill.
    assert speeds == pytest.approx([8.0, 6.0, 6.0, 2.0, 2.0])
    alone = summarize_variants(some[-1:], [Variant("nf4", "z")])
    assert alone["variants"]["nf4/z"]["benchmarks"]["b"]["decode_tokens_per_s"] is None


def test_loading_is_the_weights_and_no_answers_time() -> None:
    some = records("nf4/full", (1, 1, 1, 1), peak_bytes=9)
    first = record(
        "c1",
        "nf4/full",
        text="yes",
        num_prompt_tokens=50,
        seconds={"load": 3.0, "prefill": 0.5},
        peak_bytes=11,
        loaded=LoadedWeights(
            bytes_by_part={"layers": 5, "head": 2},
            load_s=3.0,
            peak_bytes=8,
            kernels={"prefix": "flash", "quantised": "copy"},
        ),
    )
    found = summarize_variants([first, *some], [Variant("nf4", "full")])
    weights = found["weights"]["nf4"]
    assert (weights["num_loads"], weights["load_s"]) == (1, 3.0)
    assert (weights["weight_bytes"], weights["peak_bytes"]) == (7, 11)
    assert weights["bytes_by_part"] == {"layers": 5, "head": 2}
    assert weights["kernels"] == {"prefix": ["flash"], "quantised": ["copy"]}
    assert weights["seconds"] == {"prefill": 0.5}
    assert weights["prefill_tokens_per_s"] == pytest.approx(5 * 50 / 0.5)
    assert found["variants"]["nf4/full"]["benchmarks"]["b"]["seconds"] == {"prefill": 0.5}


def test_an_error_is_no_answer_and_is_compared_with_nothing(matrix: list[Record]) -> None:
    lost = record("c1", "none/x@0.5", error=SampleError(type="X", message="x"))
    found = summarize_variants([*matrix, lost], VARIANTS)
    cell = found["variants"]["none/x@0.5"]["benchmarks"]["b"]
    assert (cell["num_samples"], cell["num_answered"]) == (5, 4)
    assert cell["against"]["none/full"]["num_samples"] == 4


def test_the_reference_is_the_baseline_or_else_the_first() -> None:
    full, other = Variant("nf4", "full"), Variant("nf4", "x")
    assert reference_variant([full, BASELINE]) == BASELINE
    assert reference_variant([full, other]) == full


def test_many_adapters_are_corrected_for_their_number() -> None:
    """Of two against their base, p is each one's own."""
    scores = {"a": (0, 0, 0, 0), "b": (1, 1, 1, 1), "c": (0, 1, 1, 1)}
    base = records("none/full", (1, 1, 1, 1))
    for names, has_holm in (("ab", False), ("abc", True)):
        variants = [BASELINE, *(Variant("none", "full", name) for name in names)]
        adapted = [one for name in names for one in records(f"none+{name}/full", scores[name])]
        found = summarize_variants([*base, *adapted], variants)["variants"]
        against = {
            name: found[f"none+{name}/full"]["benchmarks"]["b"]["against"]["none/full"]
            for name in names
        }
        assert [one["mcnemar_p"] for one in against.values()] == [0.125, 1.0, 1.0][: len(names)]
        corrected = [one.get("mcnemar_p_holm") for one in against.values()]
        assert corrected == ([0.375, 1.0, 1.0] if has_holm else [None, None])
