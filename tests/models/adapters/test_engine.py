"""Answers under different adapters decoded together, against weights with each adapter merged in.

`test_against_peft.py` compares with peft itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.answer import Generation
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.kv import compress as compressing
from encodeonce.models.kv.engine import DecodeEngine
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.adapting import BASE, adapted_rows
from encodeonce.models.serving.pool import ServingPool
from encodeonce.models.spec import GenerationSpec, ModelSpec, VisionSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.family import Model, Scene
from tests.contracts.logits import NotedLogits
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen2_5_vl
from tests.fixtures.tiny.vila import write_tiny_vila
from tests.models.adapters.made import factors, read, widths_of, write
from tests.models.adapters.merged import merged

SETTINGS = (
    FULL,
    KVSpec(method="snapkv", keep=0.4),
    KVSpec(method="streaming_llm", keep=0.4, scope="media"),
)
SPEC = GenerationSpec(max_new_tokens=5, max_batch=16)
QUESTIONS = ("What is shown?", "How often does the red circle cross the line?")
NUMBERS = (BASE, 0, 1, 2)
DEMO_SPEC = ModelSpec(path="demo", dtype="float32", device="cpu")


def visuals_of(model: Model) -> list[list[Visual]]:
    sizes = (6, 10)
    return [[model.visual(Scene("video", range(0, n + 1, 2), (64, 64), seed=n))] for n in sizes]


@pytest.fixture(scope="module")
def demo() -> Model:
    return Model(DEMO_CHECKPOINT, VisionSpec())


@pytest.fixture(scope="module")
def media(demo: Model) -> list[list[Visual]]:
    return visuals_of(demo)


@pytest.fixture(scope="module")
def folders(demo: Model, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters of the attention, of the MLPs, and of projector, layer 2 and head."""
    root, model = tmp_path_factory.mktemp("adapters"), demo.decoder.model
    attention = widths_of(model, ("q_proj", "k_proj", "v_proj"), "language_model.model.")
    mlps = widths_of(model, ("up_proj", "down_proj"), "model.language_model.")
    third = {name: width for name, width in mlps.items() if "layers.2." in name}
    third |= {"multi_modal_projector.linear_2": (256, 256), "lm_head": (256, 512)}
    return [
        write(root / "attention", factors(attention, 8, seed=1, size=0.08), r=8),
        write(root / "mlp", factors(mlps, 3, seed=2, size=0.08), r=3, use_rslora=True),
        write(root / "three", factors(third, 5, seed=3, size=0.08), r=5),
    ]


@pytest.fixture(scope="module")
def decoder(demo: Model, folders: list[Path]) -> Iterator[Any]:
    demo.decoder.load_adapters([AdapterSpec(path=str(folder)) for folder in folders])
    yield demo.decoder
    demo.decoder.adapters.detach()


@pytest.fixture(scope="module")
def alone(demo: Model, folders: list[Path]) -> Mapping[int, Any]:
    """Decoders with one adapter's weights each; the base's without any."""
    found = {number: merged(demo.decoder, read(folder)) for number, folder in enumerate(folders)}
    base = demo.family.decoder(demo.folder, DEMO_SPEC, VisionSpec())
    return {**found, BASE: base}


def ask(decoder: Any, media: Sequence[list[Visual]], numbers: Sequence[int]) -> DecodeEngine:
    """Ask about media under adapters; the rows of all take places of their own."""
    engine: DecodeEngine = decoder.engine(SPEC, SETTINGS)
    for m, visuals in enumerate(media):
        for number in numbers:
            prefix = decoder.prefill(visuals, SETTINGS, adapter=number)
            place = len(QUESTIONS) * (m * len(NUMBERS) + NUMBERS.index(number))
            engine.ask((m, number), prefix, QUESTIONS, place)
    return engine


def digests(answers: Sequence[Sequence[Generation]]) -> list[list[str]]:
    return [[one.logits_sha256 for one in of_setting] for of_setting in answers]


def test_media_adapters_and_settings_decoded_together_answer_as_each_alone(
    decoder: Any,
    alone: Mapping[int, Any],
    media: list[list[Visual]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = NotedLogits(monkeypatch)
    together = ask(decoder, media, NUMBERS).finish()
    for m, visuals in enumerate(media):
        for number, other in alone.items():
            prefix = other.prefill(visuals, SETTINGS)
            theirs = other.answer(prefix, QUESTIONS, SPEC, SETTINGS)
            for ours, expected in zip(together[m, number], theirs, strict=True):
                for one, its in zip(ours, expected, strict=True):
                    logits.assert_close(one, its)
    base = together[0, BASE][0][0]
    moved = [logits.first_difference(together[0, n][0][0], base) for n in range(3)]
    assert min(moved) > 0.1, "the adapters have no effect here"


def test_who_else_is_decoded_changes_no_bit(decoder: Any, media: list[list[Visual]]) -> None:
    together = ask(decoder, media, NUMBERS).finish()
    for number in NUMBERS:
        found = ask(decoder, media[:1], [number]).finish()
        assert digests(found[0, number]) == digests(together[0, number])


def test_adapters_beside_the_base_change_none_of_its_bits(
    decoder: Any, alone: Mapping[int, Any], media: list[list[Visual]]
) -> None:
    ours = ask(decoder, media, NUMBERS).finish()[1, BASE]
    plain = ask(alone[BASE], media, [BASE]).finish()[1, BASE]
    assert digests(ours) == digests(plain)


def test_likelihoods_and_fidelity_are_the_adapters(
    decoder: Any, alone: Mapping[int, Any], media: list[list[Visual]]
) -> None:
    texts = [("7", "three and 4")]
    for number in (BASE, 1):
        found = []
        for one, adapter in ((decoder, number), (alone[number], BASE)):
            prefix = one.prefill(media[0], SETTINGS, adapter=adapter)
            by_setting = one.score(prefix, QUESTIONS[:1], texts, SETTINGS)
            answers = one.answer(prefix, QUESTIONS, SPEC, SETTINGS, fidelity=True)
            kl = [answer.fidelity.total_kl for some in answers[1:] for answer in some]
            log_probs = [p for (one,) in by_setting for p in one.log_probs]
            found.append(torch.tensor([*kl, *log_probs]))
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_methods_that_call_the_model_after_the_pass_call_the_adapted_one(
    decoder: Any, media: list[list[Visual]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int | None] = []
    entries = compressing._entries

    def noting(*args: Any) -> Any:
        rows = adapted_rows()
        seen.append(None if rows is None else rows.number)
        return entries(*args)

    monkeypatch.setattr(compressing, "_entries", noting)
    prefix = decoder.prefill(media[0], SETTINGS, adapter=2)
    decoder.answer(prefix, QUESTIONS, SPEC, SETTINGS)
    assert set(seen) == {2}


def test_requests_of_a_serving_pool_are_under_their_prefixs_adapter(
    decoder: Any, media: list[list[Visual]]
) -> None:
    pool = ServingPool(decoder.model, decoder.tokenizer)
    prefixes = {
        number: decoder.prefill(media[0], [FULL], adapter=number) for number in (BASE, 0, 1)
    }
    served = {
        number: pool.read(prefix, QUESTIONS[0], FULL, 5, is_forced=True)
        for number, prefix in prefixes.items()
    }
    for one in served.values():
        pool.join(one)
    for _ in range(4):
        pool.step()
    for number, one in served.items():
        ((answer,),) = decoder.answer(prefixes[number], QUESTIONS[:1], SPEC)
        written = pool.answer(one).token_ids[: len(answer.token_ids)]
        assert written == answer.token_ids
        assert (
            max(
                abs(answer.first_logits[token] - logit)
                for token, logit in pool.answer(one).first_logits.items()
                if token in answer.first_logits
            )
            < 1e-3
        )


def test_bytes_are_booked_and_adapters_can_be_replaced(
    demo: Model, folders: list[Path], media: list[list[Visual]]
) -> None:
    fresh = demo.family.decoder(demo.folder, DEMO_SPEC, VisionSpec())
    before = fresh.loaded.num_bytes
    assert fresh.adapters is None
    with pytest.raises(ValueError, match="adapter 0 of 0"):
        fresh.prefill(media[0], adapter=0)
    for folder in folders[:2]:
        fresh.load_adapters([AdapterSpec(path=str(folder), label="one")])
        assert fresh.adapters.titles == ("one",)
        assert fresh.loaded.num_bytes == before + fresh.adapters.nbytes
    hooks = [part for part in fresh.model.modules() if part._forward_hooks]
    assert len(hooks) == len(fresh.adapters.module_names)
    with pytest.raises(ValueError, match="adapter 1 of 1"):
        fresh.prefill(media[0], adapter=1)


def test_features_behind_the_projector_would_be_an_adapters_own(
    demo: Model, folders: list[Path]
) -> None:
    vision = VisionSpec(tap="projected")
    decoder = demo.family.decoder(demo.folder, DEMO_SPEC, vision)
    with pytest.raises(AdapterError, match="1 modules of the projector"):
        decoder.load_adapters([AdapterSpec(path=str(folders[2]))])
    assert decoder.adapters is None


FAMILIES = {
    "positions in the model": (write_tiny_qwen2_5_vl, "projected"),
    "assembled, with a projector": (write_tiny_vila, "tower"),
}


@pytest.mark.parametrize("case", FAMILIES)
def test_other_families(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny, tap = FAMILIES[case]
    (tmp_path / "model").mkdir()
    model = Model(write_tiny(tmp_path / "model"), VisionSpec(tap=tap))
    decoder = model.decoder
    widths = widths_of(decoder.model, ("q_proj", "down_proj"), "model.")
    if decoder.projector is not None:
        linear = [p for p in decoder.projector.modules() if isinstance(p, torch.nn.Linear)][-1]
        name = next(n for n, p in decoder.projector.named_modules() if p is linear)
        widths[f"mm_projector.{name}"] = (linear.in_features, linear.out_features)
    folder = write(tmp_path / "adapter", factors(widths, 4, size=0.2))
    alone = merged(decoder, read(folder))
    decoder.load_adapters([AdapterSpec(path=str(folder))])
    logits = NotedLogits(monkeypatch)
    visuals = [model.visual(Scene("image", size=(40, 48)))]
    engine: DecodeEngine = decoder.engine(SPEC, [FULL])
    for place, number in enumerate((0, BASE, 0)):
        engine.ask(place, decoder.prefill(visuals, adapter=number), QUESTIONS[:1], place)
    found = engine.finish()
    ((expected,),) = alone.answer(alone.prefill(visuals), QUESTIONS[:1], SPEC)
    for place in (0, 2):
        logits.assert_close(found[place][0][0], expected)
    assert logits.first_difference(found[0][0][0], found[1][0][0]) > 1e-3
    assert replace(found[0][0][0], seconds={}) == replace(found[2][0][0], seconds={})
