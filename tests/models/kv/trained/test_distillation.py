"""Gradients through the ragged cache, and what a lesson says."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from encodeonce.models.kv.likelihoods import sweep_likelihoods
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.storage import entry_bytes
from encodeonce.models.kv.trained.compressor import Compressor
from encodeonce.models.kv.trained.distillation import Lesson, Scope, make_lesson, student
from encodeonce.models.kv.trained.grouping import group_tokens
from encodeonce.models.kv.trained.header import CompressorForm
from encodeonce.models.kv.trained.loss import Outputs, distance
from encodeonce.models.kv.trained.loss_spec import LossSpec
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual
from tests.asking import swept
from tests.compressors import DEMO_LAYERS, DEMO_WIDTH, random_compressor, write_random

QUESTIONS = ["Which digit is shown first?", "How often is 3 shown?", "Which digits?"]
FORMS = [
    CompressorForm(factor=16),
    CompressorForm(factor=5, text="compress", skip="none", positions="compressed"),
]
SPEC = LossSpec()


@pytest.fixture(scope="module", params=["media", "question"])
def scope(request: pytest.FixtureRequest) -> Scope:
    return request.param


@pytest.fixture(scope="module")
def lesson(decoder: Any, visuals: list[Visual], scope: Scope) -> Lesson:
    prefix = decoder.prefill(visuals)
    answers = [[31, 7, 2], [30, 2], [12, 13, 14, 2]]
    rows = [(prefix.suffix(q), a) for q, a in zip(QUESTIONS, answers, strict=True)]
    return make_lesson(decoder.model, prefix, rows, scope, with_hidden=True)


def loss_of(model: Any, compressor: Compressor, lesson: Lesson) -> torch.Tensor:
    outputs = student(model, compressor, lesson, with_hidden=True)
    return distance(SPEC, outputs, lesson.teacher, lesson.is_real, lesson.is_answer)[0]


def double(lesson: Lesson) -> Lesson:
    prompts = [
        replace(one, keys=one.keys.double(), values=one.values.double()) for one in lesson.prompts
    ]
    teacher = Outputs(
        lesson.teacher.log_probs.double(), [one.double() for one in lesson.teacher.hidden]
    )
    return replace(lesson, prompts=prompts, teacher=teacher)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_difference_quotient(
    decoder: Any, lesson: Lesson, form: CompressorForm
) -> None:
    model, exact = copy.deepcopy(decoder.model).double(), double(lesson)
    compressor = random_compressor(form, DEMO_LAYERS, DEMO_WIDTH).double()
    loss_of(model, compressor, exact).backward()
    assert all(one.grad is None for one in model.parameters())
    for name, one in compressor.named_parameters():
        assert one.grad is not None and one.grad.abs().max() > 0, name
    generator = torch.Generator().manual_seed(1)
    along = [
        torch.randn(one.shape, generator=generator, dtype=torch.float64)
        for one in compressor.parameters()
    ]
    slope = sum(
        float((one.grad * way).sum())
        for one, way in zip(compressor.parameters(), along, strict=True)
        if one.grad is not None
    )
    step, values = 1e-5, []
    for sign in (1, -2):
        with torch.no_grad():
            for one, way in zip(compressor.parameters(), along, strict=True):
                one += sign * step * way
            values.append(float(loss_of(model, compressor, exact)))
    # Normalisation rounds to float32 whatever the model's precision is.
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=5e-3)


def test_the_teacher_is_the_full_cache(decoder: Any, visuals: list[Visual], scope: Scope) -> None:
    """Row by row: one question alone, over the whole prefix."""
    prefix = decoder.prefill(visuals)
    rows = [(prefix.suffix(q), [31, 7, 2][: n + 1]) for n, q in enumerate(QUESTIONS)]
    if scope == "question":
        rows = rows[1:]
    together = make_lesson(decoder.model, prefix, rows, scope, with_hidden=False)
    for number, (question, answer) in enumerate(rows):
        logits = decoder.answer_logits(visuals, _text(question, prefix), answer)
        first = 0 if scope == "media" else 1
        where = together.is_answer[number]
        found = together.teacher.log_probs[number][where]
        expected = logits[first:].log_softmax(-1)
        assert torch.allclose(found, expected, atol=1e-4)
        fed = together.token_ids[number][together.is_real[number]].tolist()
        assert fed == ([*question, *answer[:-1]] if scope == "media" else list(answer[:-1]))


def _text(suffix: list[int], prefix: Any) -> str:
    return next(q for q in QUESTIONS if prefix.suffix(q) == suffix)


def test_the_student_is_what_answers_are_written_by(
    decoder: Any, visuals: list[Visual], scope: Scope, tmp_path: Any
) -> None:
    """The same compressor as a KV setting gives the logits that were trained on."""
    path = write_random(tmp_path / "c", tuple(range(DEMO_LAYERS)), DEMO_WIDTH, factor=16)
    setting = KVSpec(method="ccm", keep=1 / 16, scope=scope, options={"path": str(path)})
    spec = GenerationSpec(max_new_tokens=4)
    ((answer,),) = swept(decoder, visuals, QUESTIONS[:1], spec, [setting])
    prefix = decoder.prefill(visuals)
    row = (prefix.suffix(QUESTIONS[0]), answer.token_ids)
    lesson = make_lesson(decoder.model, prefix, [row], scope, with_hidden=False)
    compressor = random_compressor(CompressorForm(factor=16), DEMO_LAYERS, DEMO_WIDTH)
    outputs = student(decoder.model, compressor, lesson, with_hidden=False)
    written = outputs.log_probs[0][lesson.is_answer[0]].argmax(-1).tolist()
    first = 0 if scope == "media" else 1
    assert written == list(answer.token_ids[first:])


def test_likelihoods_are_those_of_the_tokens_one_by_one(
    decoder: Any, visuals: list[Visual], scope: Scope, tmp_path: Any
) -> None:
    form, texts = CompressorForm(factor=16), [[31, 7, 2], [30], [12, 13, 14, 2]]
    path = write_random(tmp_path / "c", tuple(range(DEMO_LAYERS)), DEMO_WIDTH, factor=16)
    setting = KVSpec(method="ccm", keep=1 / 16, scope=scope, options={"path": str(path)})
    prefix = decoder.prefill(visuals, [setting])
    suffix = prefix.suffix(QUESTIONS[0])
    (found,) = sweep_likelihoods(decoder.model, prefix, [setting], suffix, texts)
    compressor = random_compressor(form, DEMO_LAYERS, DEMO_WIDTH)
    for number, text in enumerate(texts):
        behind = found.log_probs[number] - found.first_log_probs[number]
        expected = [0.0]  # of tokens after the first, which under scope "question" is the prefill's
        for length in range(2, len(text) + 1):
            rows = [(suffix, text[:length])]
            lesson = make_lesson(decoder.model, prefix, rows, scope, with_hidden=False)
            with torch.no_grad():
                outputs = student(decoder.model, compressor, lesson, with_hidden=False)
            last = outputs.log_probs[0, -1]
            expected.append(float(last[text[length - 1]]))
        assert behind == pytest.approx(sum(expected), abs=1e-4)


@pytest.mark.parametrize("precision", ["model", "int8", "int4"])
def test_merged_entries_are_stored_in_any_precision(
    decoder: Any, visuals: list[Visual], tmp_path: Any, precision: Any
) -> None:
    path = write_random(tmp_path / "c", tuple(range(DEMO_LAYERS)), DEMO_WIDTH, factor=16)
    setting = KVSpec(
        method="ccm", keep=1 / 16, scope="media", options={"path": str(path)}, precision=precision
    )
    spec = GenerationSpec(max_new_tokens=2)
    ((answer,),) = swept(decoder, visuals, QUESTIONS[:1], spec, [setting])
    prefix = decoder.prefill(visuals)
    flags, num_question = torch.tensor(prefix.opening.is_visual), len(prefix.suffix(QUESTIONS[0]))
    entries = len(group_tokens(flags, CompressorForm(factor=16)).indices)
    heads = DEMO_LAYERS * prefix.layers[0].keys.shape[1]
    mine = heads * entry_bytes(entries, DEMO_WIDTH, 4, precision)
    questions = heads * entry_bytes(num_question, DEMO_WIDTH, 4, "model")
    assert answer.kv is not None and answer.kv.kept_bytes == mine + questions
