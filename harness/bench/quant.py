"""Measures quantised weights on one prompt: memory, seconds, and the answer.

Each variant is loaded alone, answers once to warm up, and is then timed. Its output is compared
with the unquantised model's, teacher-forced on that model's own answer, so that one differing token
does not make all later ones incomparable.

Shapes: L tokens of the answer, V vocabulary.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import torch

from encodeonce.harness.bench.scene import Scene, SceneSpec
from encodeonce.models.answer import Generation, LoadedWeights, sum_seconds
from encodeonce.models.checkpoint.footprint import peak, reset_peak
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.quantization.grid import Grid
from encodeonce.models.quantization.making.make import Calibration, make_quantized
from encodeonce.models.quantization.making.recipe import Recipe
from encodeonce.models.spec import NONE, GenerationSpec, WeightsSpec
from encodeonce.models.timing import synchronize
from encodeonce.models.vision.visual import Visual


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantBench:
    """What to measure."""

    scene: SceneSpec
    question: str
    variants: tuple[WeightsSpec, ...]
    """Compared with the unquantised model, which always comes first."""
    num_runs: int
    num_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How a variant continues the unquantised model's answer, teacher-forced."""

    first_token_kl: float
    """KL(unquantised || variant) of the first token's distribution, nats."""
    mean_kl: float
    """The same over all tokens of the answer."""
    num_agreeing: int
    """Tokens of the answer that are the variant's likeliest too."""
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One variant, over all runs."""

    name: str
    loaded: LoadedWeights
    first_token_s: tuple[float, ...]
    """Prompt and prefill, by run."""
    generate_s: tuple[float, ...]
    """From the first token to the last, by run."""
    num_generated_tokens: int
    peak_bytes: int | None
    """Peak memory while answering; None where the system does not report it."""
    closeness: Closeness
    same_answer: bool
    """Whether its free-running answer has the unquantised model's tokens."""

    @property
    def tokens_per_s(self) -> tuple[float, ...]:
        """Tokens per second after the first token, by run."""
        return tuple((self.num_generated_tokens - 1) / seconds for seconds in self.generate_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """The unquantised model's answer."""

    token_ids: tuple[int, ...]
    log_probs: torch.Tensor
    """Log-probabilities (L, V) before each of its tokens, float32."""


def run_quant_bench(bench: QuantBench, on_step: Callable[[str], None]) -> list[Measurement]:
    """Measure the unquantised model and all variants, one after another.

    Args:
        bench: what to measure.
        on_step: called before each step, with its name.

    Raises:
        WeightsError: a variant cannot be loaded here; raised before anything is loaded.
    """
    found: list[Measurement] = []
    expected: _Expected | None = None
    with closing(Scene(bench.scene)) as scene:
        for variant in bench.variants:
            if not _is_made_here(variant):
                scene.session.check_weights(variant)
        on_step("encoding")
        scene.encode()
        visuals = scene.visuals()
        for variant in (NONE, *bench.variants):
            if _is_made_here(variant):
                on_step("quantising by AWQ")
                scene.session.decoder_slot.empty()  # memory may not hold two models
                variant = _made_here(bench, variant, visuals)
                scene.session.check_weights(variant)
            on_step(f"{variant.title}: loading")
            decoder: Any = scene.session.decoder_slot.put(variant)
            on_step(f"{variant.title}: answering")
            one, expected = _measured(bench, variant, decoder, visuals, expected)
            found.append(one)
            del decoder
    return found


def _is_made_here(variant: WeightsSpec) -> bool:
    return variant.method == "awq" and variant.path is None


def _made_here(bench: QuantBench, variant: WeightsSpec, visuals: list[Visual]) -> WeightsSpec:
    """Quantise by AWQ on the measured prompt: memory and speed do not depend on calibration."""

    def prompts(decoder: PrefixDecoder) -> Any:
        yield decoder.whole_prompt(visuals, bench.question, " ")

    calibration = Calibration(
        description={"prompt": "the measured one"}, prompts=prompts, vision=bench.scene.vision
    )
    recipe = Recipe(method="awq", grid=Grid())
    target = bench.scene.folder / "awq"
    made = make_quantized(bench.scene.model, recipe, calibration, target, lambda done, total: None)
    label = variant.label or f"{variant.title} (made here)"
    return variant.model_copy(update={"path": str(made.folder), "label": label})


def _measured(
    bench: QuantBench,
    variant: WeightsSpec,
    decoder: PrefixDecoder,
    visuals: list[Visual],
    expected: _Expected | None,
) -> tuple[Measurement, _Expected]:
    generation = GenerationSpec(max_new_tokens=bench.num_new_tokens)

    def answer() -> Generation:
        synchronize()
        prefix = decoder.prefill(visuals)
        ((found,),) = decoder.answer(prefix, [bench.question], generation)
        return replace(found, seconds=sum_seconds([prefix.seconds, found.seconds]))

    warm = answer()
    reset_peak()
    answers = [answer() for _ in range(bench.num_runs)]
    peak_bytes = peak()
    token_ids = warm.token_ids if expected is None else expected.token_ids
    logits = decoder.answer_logits(visuals, bench.question, token_ids)
    log_probs = logits.float().log_softmax(-1).cpu()
    expected = expected or _Expected(token_ids=token_ids, log_probs=log_probs)
    measurement = Measurement(
        name=variant.title,
        loaded=decoder.loaded,
        first_token_s=tuple(_until_first_token(one) for one in answers),
        generate_s=tuple(one.seconds["generate"] for one in answers),
        num_generated_tokens=len(warm.token_ids),
        peak_bytes=peak_bytes,
        closeness=closeness(expected.log_probs, log_probs),
        same_answer=warm.token_ids == expected.token_ids,
    )
    return measurement, expected


def closeness(expected_LV: torch.Tensor, log_probs_LV: torch.Tensor) -> Closeness:
    """Compare log-probabilities before each token of an answer."""
    kl_L = (expected_LV.exp() * (expected_LV - log_probs_LV)).sum(-1)
    agreeing = expected_LV.argmax(-1) == log_probs_LV.argmax(-1)
    return Closeness(
        first_token_kl=float(kl_L[0]),
        mean_kl=float(kl_L.mean()),
        num_agreeing=int(agreeing.sum()),
        num_tokens=len(kl_L),
    )


def _until_first_token(answer: Generation) -> float:
    return answer.seconds.get("prepare", 0.0) + answer.seconds["prefill"]
