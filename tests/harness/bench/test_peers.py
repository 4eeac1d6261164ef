"""Tests of the comparison's tables, and of what its ways count."""

from encodeonce.harness.bench.peers.job import WAYS, Done
from encodeonce.harness.bench.peers.ours import _prefilled
from encodeonce.harness.bench.peers.report import sections, to_json
from encodeonce.harness.bench.peers.run import same_as_first


def done(answer_s: float, num_encoded: int = 0, **texts: str) -> Done:
    return Done(
        load_s=1.0,
        answer_s=answer_s,
        cpu_s=answer_s / 2,
        texts=texts,
        num_encoded=num_encoded,
        num_prefilled=10,
        stages={"generate": answer_s / 2},
    )


ROUNDS = {
    "plain": [done(4.0, 16, a="yes", b="no"), done(6.0, 16, a="yes", b="no")],
    "warm": [done(1.0, a="yes", b="yes"), done(1.0, a="yes", b="yes")],
}


def test_a_row_for_each_way_with_seconds_an_answer() -> None:
    missing = {"vllm": "not measured: vLLM is not installed"}
    measured, stages = sections(ROUNDS, missing)
    assert measured.table is not None and stages.table is not None
    rows = {row[0]: row[1:] for row in measured.table.rows}
    assert list(rows) == [WAYS[name].title for name in ("plain", "vllm", "warm")]
    assert rows["plain transformers"][:2] == ("2.5000 (2.0000–3.0000)", "1.00x")
    assert rows["ours, warm"][1:3] == ("5.00x", "0.2500")
    assert rows["ours, warm"][4:] == ("0", "10", "1 of 2")
    assert set(rows["vLLM, from pixels"]) == {"-"}
    assert measured.bullets == ("vLLM, from pixels: not measured: vLLM is not installed",)
    assert stages.table.rows[0] == ("plain transformers", "1000.0")


def test_answers_are_compared_with_those_of_the_first_way() -> None:
    assert same_as_first(ROUNDS) == {"plain": 2, "warm": 1}
    assert to_json(ROUNDS, {})["ways"]["warm"][1]["answer_s"] == 1.0


def test_a_prefix_is_computed_once_for_its_media_under_each_adapter() -> None:
    def record(
        media: str, prompt: int, cached: int = 0, variant: str = "none/full"
    ) -> dict[str, object]:
        lengths = {"num_prompt_tokens": prompt, "num_prefix_tokens": 100}
        found = {"media_sha256": [media], "variant": variant}
        return {**found, **lengths, "num_cached_tokens": cached}

    ours = [record("a", 110), record("a", 120), record("b", 105)]
    assert _prefilled(ours) == 2 * 100 + 10 + 20 + 5
    assert _prefilled([record("a", 110), record("a", 120, 96)]) == 110 + 24
    adapted = [record("a", 110, variant="none+one/full"), record("a", 110)]
    assert _prefilled(adapted) == 2 * 100 + 10 + 10
