"""Activated LoRA, which begins at its invocation, against one pass in which nothing is shared.

`test_against_peft.py` compares such a pass with peft's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.kv import compress as compressing
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.kv.statistics import Needs
from encodeonce.models.language.activation import Activation, NotInvoked
from encodeonce.models.language.adapting import BASE, using
from encodeonce.models.language.likelihood import extended_inputs
from encodeonce.models.serving.pool import ServingPool
from encodeonce.models.spec import GenerationSpec, VisionSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.family import Model, Scene, spec
from tests.contracts.logits import NotedLogits, Tokens, assert_close
from tests.models.adapters.made import factors, widths_of, write

QUESTIONS = ("How often is the 3 shown?", "What is shown in the second scene, and what after it?")
SPEC = GenerationSpec(max_new_tokens=5, max_batch=16)
WHOLE_BY_MEDIA = KVSpec(method="streaming_llm", keep=1.0, scope="media")
"""Everything is kept, by the way of caches that are compressed before a question is read."""
WHOLE_BY_QUESTION = KVSpec(method="streaming_llm", keep=1.0)
EVERYTHING = (FULL, WHOLE_BY_MEDIA, WHOLE_BY_QUESTION)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(DEMO_CHECKPOINT, VisionSpec())


@pytest.fixture(scope="module")
def visuals(model: Model) -> list[Visual]:
    return [model.visual(Scene("video", range(0, 9, 2), (64, 64), seed=1))]


@pytest.fixture(scope="module")
def invocation(model: Model, visuals: list[Visual]) -> list[int]:
    """What the template puts behind every question."""
    suffixes = [model.decoder.prefill(visuals).suffix(question) for question in QUESTIONS]
    (found,) = {tuple(suffix[-2:]) for suffix in suffixes}
    return list(found)


@pytest.fixture(scope="module")
def folders(
    model: Model, invocation: list[int], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Two activated adapters, and a plain one with the first's weights."""
    root, language = tmp_path_factory.mktemp("activated"), model.decoder.model
    attention = widths_of(language, ("q_proj", "k_proj", "v_proj"), "language_model.model.")
    mlps = widths_of(language, ("up_proj", "down_proj"), "model.language_model.")
    mlps |= {"lm_head": (256, 512)}
    begins = {"alora_invocation_tokens": invocation}
    of_attention = factors(attention, 8, seed=1, size=0.08)
    return [
        write(root / "attention", of_attention, r=8, **begins),
        write(root / "mlp", factors(mlps, 3, seed=2, size=0.08), r=3, **begins),
        write(root / "plain", of_attention, r=8),
    ]


def specs(folders: Sequence[Path]) -> list[AdapterSpec]:
    return [AdapterSpec(path=str(folder)) for folder in folders]


@pytest.fixture(scope="module")
def decoder(model: Model, folders: list[Path]) -> Iterator[Any]:
    model.decoder.load_adapters(specs(folders))
    yield model.decoder
    model.decoder.adapters.detach()


def at_once(
    decoder: Any, visuals: list[Visual], question: str, more: Sequence[int], number: int, size: int
) -> torch.Tensor:
    """Return the logits (size + len(more), V) of one pass over a whole prompt and what follows."""
    prefix = decoder.prefill(visuals)
    suffix = prefix.suffix(question)
    num_before = prefix.num_tokens + len(suffix) - size
    inputs = extended_inputs(decoder.model, prefix.opening.inputs, [*suffix, *more])
    numbers = [BASE] * num_before + [number] * (size + len(more))
    with torch.inference_mode(), using([numbers]):
        return torch.as_tensor(decoder.model(**inputs).logits[0, -len(more) - 1 :])


def test_answers_are_those_of_a_pass_that_shares_nothing(
    decoder: Any,
    visuals: list[Visual],
    invocation: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = NotedLogits(monkeypatch)
    engine = decoder.engine(SPEC, EVERYTHING)
    for number in (BASE, 0, 1, 2):
        prefix = decoder.prefill(visuals, EVERYTHING, adapter=number)
        engine.ask(number, prefix, QUESTIONS, 2 * (number + 1))
    found = engine.finish()
    for number in (0, 1):
        for by_setting in found[number]:
            for question, answer in zip(QUESTIONS, by_setting, strict=True):
                more = answer.token_ids[:-1]
                size = len(invocation)
                expected = at_once(decoder, visuals, question, more, number, size)
                plain = Tokens(expected.argmax(-1).tolist(), expected)
                assert_close(noted.of(answer), plain)
    first = [noted.first_difference(found[0][0][0], found[n][0][0]) for n in (BASE, 1, 2)]
    assert min(first) > 0.01, "where an adapter begins has no effect here"


def test_likelihoods_and_fidelity_begin_where_answers_do(
    decoder: Any, visuals: list[Visual], invocation: list[int]
) -> None:
    prefix = decoder.prefill(visuals, EVERYTHING, adapter=0)
    texts = ["three and 4"]
    by_setting = decoder.score(prefix, QUESTIONS[:1], [texts], EVERYTHING)
    ids = decoder.tokenizer(texts[0], add_special_tokens=False).input_ids
    logits = at_once(decoder, visuals, QUESTIONS[0], ids, 0, len(invocation))[:-1]
    expected = logits.log_softmax(-1)[range(len(ids)), ids].sum()
    for (found,) in by_setting:
        assert found.log_probs[0] == pytest.approx(float(expected), abs=1e-3)
    answers = decoder.answer(prefix, QUESTIONS, SPEC, EVERYTHING, fidelity=True)
    assert max(one.fidelity.total_kl for some in answers[1:] for one in some) < 1e-5


def test_the_bases_prefix_serves_all_of_them(decoder: Any, visuals: list[Visual]) -> None:
    base = decoder.prefill(visuals)
    for number in (0, 1):
        own = decoder.prefill(visuals, adapter=number)
        for mine, theirs in zip(own.layers, base.layers, strict=True):
            assert torch.equal(mine.keys, theirs.keys) and torch.equal(mine.values, theirs.values)
        shared = decoder.continuing(base, number)
        assert shared.cache is base.cache and not shared.seconds
        ours, alone = (decoder.answer(one, QUESTIONS, SPEC)[0] for one in (shared, own))
        assert [one.logits_sha256 for one in ours] == [one.logits_sha256 for one in alone]
        assert decoder.continuing(shared, BASE).activation is None
    assert decoder.continuing(base, 2) is None
    assert decoder.continuing(decoder.prefill(visuals, adapter=2), 0) is None


def test_a_serving_pool_begins_them_there_too(decoder: Any, visuals: list[Visual]) -> None:
    pool = ServingPool(decoder.model, decoder.tokenizer)
    for setting in EVERYTHING:
        prefix = decoder.prefill(visuals, [setting], adapter=1)
        ((alone,),) = decoder.answer(prefix, QUESTIONS[:1], SPEC, [setting])
        served = pool.read(prefix, QUESTIONS[0], setting, 1)
        if not setting.is_full:
            pool.compress(served)
        if setting.scope == "media":
            pool.read_late(served)
        assert served.row.answer.token_ids[0] == alone.token_ids[0]


def test_a_prompt_without_the_invocation_is_refused_alone(
    model: Model, visuals: list[Visual], tmp_path: Path
) -> None:
    widths = widths_of(model.decoder.model, ("q_proj",), "model.")
    folder = write(tmp_path / "never", factors(widths), alora_invocation_tokens=[1, 2, 3, 4, 5])
    other = model.family.decoder(model.folder, spec(model.folder), VisionSpec())
    other.load_adapters(specs([folder]))
    prefix = other.prefill(visuals, adapter=0)
    with pytest.raises(NotInvoked, match=r"does not contain its invocation, .* \[1, 2, 3, 4, 5\]"):
        other.check_behind(prefix, QUESTIONS[0], 5)
    other.check_behind(other.prefill(visuals), QUESTIONS[0], 5)


def test_what_cannot_begin_in_the_middle_is_refused(
    model: Model, folders: list[Path], tmp_path: Path
) -> None:
    other = model.family.decoder(model.folder, spec(model.folder), VisionSpec())
    with pytest.raises(AdapterError, match="activated LoRA .* cannot be merged"):
        other.load_adapters(specs(folders[:1]), are_merged=True)
    projector = {"multi_modal_projector.linear_2": (256, 256)}
    folder = write(tmp_path / "before", factors(projector), alora_invocation_tokens=[5])
    with pytest.raises(AdapterError, match="no effect on .*linear_2"):
        other.load_adapters(specs([folder]))


def test_methods_that_call_projections_are_refused(
    decoder: Any, visuals: list[Visual], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = decoder.prefill(visuals, [WHOLE_BY_QUESTION], adapter=0)
    monkeypatch.setattr(compressing, "needs_of", lambda settings: Needs(inputs=True))
    with pytest.raises(NotImplementedError, match="leave out kvpress's, or the adapter"):
        decoder.answer(prefix, QUESTIONS[:1], SPEC, [WHOLE_BY_QUESTION])


@pytest.mark.parametrize(
    ("row", "start"),
    [([1, 2, 3], 0), ([9, 1, 2, 1, 2, 5], 3), ([1, 2], 0), ([2, 1], None), ([], None)],
)
def test_the_last_invocation_counts(row: list[int], start: int | None) -> None:
    activation = Activation((1, 2))
    assert activation.start(row) == start
    if start is None:
        with pytest.raises(NotInvoked):
            activation.numbers(7, [row])
    else:
        numbers = [BASE] * start + [7] * (len(row) - start)
        assert activation.numbers(7, [row]) == [numbers]
