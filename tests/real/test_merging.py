"""The compressor ccm on a real model: lessons of prose, training, decoding, equal bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.kv.registry import check_kv
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.kv.trained.distillation import make_lesson
from encodeonce.models.kv.trained.files import load_weights
from encodeonce.models.kv.trained.header import read_header
from encodeonce.models.language.prefix import Opening, prefill
from tests.real.compressors import Column, tables
from tests.real.conftest import FACTOR, NUM_AFTER, NUM_BEFORE
from tests.real.equal_bytes import Judged, Prefilled, at_bytes, selections
from tests.real.merging import Trained, form, held_out_kl, train, untrained
from tests.real.needles import settings
from tests.real.passages import Parts, ProseLessons, Read, fresh, passages
from tests.real.prose import articles
from tests.real.smollm2 import TextDecoder


def test_what_has_been_told_is_left_out() -> None:
    words = [f"word{n}" for n in range(60)]
    told, longer, other = " ".join(words[:40]), " ".join(words[:44]), " ".join(words[36:])
    assert list(fresh([told, longer, other, told])) == [told, other]
    assert len(list(fresh(articles()))) == 289


def test_passages_share_no_article(decoder: TextDecoder) -> None:
    starts = [one[:24] for one in passages(decoder, 577)]
    assert len(starts) > 90
    for number, one in enumerate(passages(decoder, 577)):
        found = [n for n, start in enumerate(starts) if start in _windows(one, 24)]
        assert found == [number]


def _windows(token_ids: Sequence[int], size: int) -> list[Sequence[int]]:
    return [token_ids[n : n + size] for n in range(len(token_ids) - size + 1)]


def test_a_lesson_is_the_product_s(model: Any, prose: Parts) -> None:
    token_ids = prose.training[0]
    input_ids = torch.tensor([token_ids[:NUM_BEFORE]])
    opening = Opening(
        token_ids=tuple(token_ids[:NUM_BEFORE]),
        inputs={"input_ids": input_ids},
        prompt=lambda text: [],
        num_visual_units=0,
        state={},
        is_visual=[False] * NUM_BEFORE,
    )
    first, *answer = token_ids[NUM_BEFORE:]
    expected = make_lesson(
        model, prefill(model, opening, 0.0), [([first], answer)], "media", with_hidden=False
    )
    got = Read(model, token_ids).lesson(NUM_BEFORE, NUM_AFTER)
    assert got.token_ids.tolist() == expected.token_ids.tolist()
    assert got.is_real.equal(expected.is_real) and got.is_answer.equal(expected.is_answer)
    assert got.position_offset == expected.position_offset
    torch.testing.assert_close(
        got.teacher.log_probs, expected.teacher.log_probs, atol=1e-3, rtol=0.0
    )
    for name in ("keys", "values"):
        mine, its = (getattr(one.prompts[0], name) for one in (got, expected))
        torch.testing.assert_close(mine, its, atol=1e-3, rtol=0.0)


def test_a_few_steps_bring_unseen_prose_closer_to_the_full_cache(
    model: Any, prose: Parts, trained: Trained, tmp_path: Path
) -> None:
    unseen = [Read(model, one).lesson(NUM_BEFORE, NUM_AFTER) for one in prose.held_out]
    before, after = (
        held_out_kl(model, load_weights(folder, read_header(folder)), unseen)
        for folder in (untrained(tmp_path, model, form(FACTOR)), trained.folder)
    )
    assert after < 0.9 * before
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_training_that_has_ended_is_not_repeated(
    model: Any, prose: Parts, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProseLessons, "read", None)
    lessons = ProseLessons(model, prose.training, NUM_AFTER, seed=0)
    again = train(model, form(FACTOR), lessons, [], trained.folder.parent, cpu_s=1.0)
    assert (again.state, again.cpu_s) == (trained.state, trained.cpu_s)
    others = ProseLessons(model, prose.training, NUM_AFTER, seed=1)
    with pytest.raises(ValueError, match="differs in: prose"):
        train(model, form(FACTOR), others, [], trained.folder.parent, cpu_s=1.0)


@pytest.fixture(scope="module")
def prefilled(model: Any, prose: Parts) -> Prefilled:
    return Prefilled(model, prose.held_out[0], NUM_BEFORE)


@pytest.mark.parametrize("precision", ["model", "int4"])
def test_nobody_gets_fewer_bytes_than_the_compressor_nor_an_entry_too_many(
    prefilled: Prefilled, precision: str
) -> None:
    target = 0.1 if precision == "model" else 0.03
    for method in selections():
        setting = at_bytes(prefilled, method, precision, target)
        assert setting is not None
        assert target <= prefilled.kept(setting) < 1.15 * target
        less = setting.model_copy(update={"keep": setting.keep - 1 / NUM_BEFORE})
        assert prefilled.kept(less) < target


def test_what_int4_cannot_fill_is_left_out(prefilled: Prefilled) -> None:
    assert at_bytes(prefilled, ("knorm", {}), "int4", 0.5) is None


def test_the_full_cache_reads_as_a_plain_pass_does(
    model: Any, prose: Parts, prefilled: Prefilled
) -> None:
    full, int4 = prefilled.judge([FULL, KVSpec(method="full", precision="int4")])
    token_ids = torch.tensor([prose.held_out[0]])
    with torch.inference_mode():
        log_probs = model(input_ids=token_ids).logits[0, :-1].log_softmax(-1)
    expected = -log_probs.gather(1, token_ids[0, 1:, None])[NUM_BEFORE:].mean()
    assert full.nll == pytest.approx(float(expected), abs=1e-4)
    assert full.kl == pytest.approx(0.0, abs=1e-6) and full.kept == 1.0
    assert 0.0 < int4.kl < 0.1 and int4.kept < 0.2


def test_every_setting_of_the_other_tables_can_be_used() -> None:
    for setting in settings():
        check_kv(setting)


def test_tables_put_the_best_first_and_compare_the_compressor_with_it() -> None:
    column = Column(factor=8, precision="model", bytes=0.1387)

    def judged(*nlls: float, kept: float = 0.1387) -> list[Judged]:
        return [Judged(nll=nll, kl=0.5, kept=kept) for nll in nlls]

    table = {
        ("ccm", column): judged(3.3, 3.5),
        ("Knorm", column): judged(3.9, 4.1, kept=0.1391),
        ("TOVA", column): judged(3.2, 3.2),
        ("TOVA + int4", column): judged(3.0, 3.1, kept=0.1389),
        ("full, int4", column): judged(3.05, 3.06, kept=0.1484),
    }
    mean, lines, best = tables(judged(3.0, 3.0), table)
    assert mean == "NLL over the full cache: 3.000 a token."
    head, _, *rows = lines.splitlines()
    assert head == "| method | 13.87 % (ccm@8) |"
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        "TOVA + int4",
        "full, int4",
        "TOVA",
        "ccm",
        "Knorm",
    ]
    assert rows[3] == "| ccm | 0.400 ± 0.196; 0.500 |"
    assert "best of entries in the model's precision: TOVA, ccm's NLL minus its: 0.200" in best
    assert "best of int4 entries: TOVA + int4, ccm's NLL minus its: 0.350" in best
    assert "The others keep 13.87 to 13.91 %." in best
