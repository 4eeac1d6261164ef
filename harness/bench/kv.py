"""Measures compressed caches on one picture or video, by method, budget and batch size.

A batch holds different questions of the same length, so every row has a cache of its own. The
baseline is transformers' own cache after the same prefill; our cache with everything kept is
measured beside it. Runs of all ways are interleaved, so that a busy machine affects all alike.

Shapes: B questions.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from encodeonce.harness.bench.scene import Scene, SceneSpec
from encodeonce.models.answer import sum_seconds
from encodeonce.models.checkpoint.footprint import peak, reset_peak
from encodeonce.models.family import Decoder
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, GenerationSpec
from encodeonce.models.timing import synchronize
from encodeonce.models.vision.visual import Visual

TRANSFORMERS = "transformers' cache"
_FILLING = " and then some more"


@dataclass(frozen=True, slots=True, kw_only=True)
class KVBench:
    """What to measure."""

    scene: SceneSpec
    settings: tuple[KVSpec, ...]
    batches: tuple[int, ...]
    """Questions answered together."""
    num_prompt_tokens: int | None
    """Tokens of a prompt, visual ones included: questions are padded with text up to it."""
    num_new_tokens: int
    num_runs: int


@dataclass(slots=True, kw_only=True)
class Way:
    """One setting at one batch size, over all runs."""

    name: str
    setting: KVSpec
    batch: int
    num_prompt_tokens: int = 0
    total_s: list[float] = field(default_factory=list)
    """From the features to the last token of the last answer, by run."""
    stages_s: list[dict[str, float]] = field(default_factory=list)
    """Seconds by stage, by run: ``prefill``, ``compress``, ``generate`` (the decode steps)."""
    num_generated_tokens: int = 0
    peak_bytes: int | None = None
    full_bytes: int = 0
    """Keys and values of all prompts, uncompressed."""
    kept_bytes: int = 0
    """What was left of them."""

    @property
    def median_s(self) -> float:
        """Median of the totals."""
        return statistics.median(self.total_s)

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens per second, of the median run."""
        return self.num_generated_tokens / self.median_s

    def median_stage_s(self, stage: str) -> float:
        """Return the median of a stage's seconds."""
        return statistics.median(seconds.get(stage, 0.0) for seconds in self.stages_s)


def run_kv_bench(bench: KVBench, on_run: Callable[[str], None]) -> list[Way]:
    """Measure every setting at every batch size, after one uncounted run of each.

    Args:
        bench: what to measure.
        on_run: called before each run, with its name.

    Raises:
        CheckpointError: the model cannot be used.
        MediaError: the media cannot be used.
        ValueError: a prompt of this many tokens cannot be made.
    """
    ways = [
        Way(name=TRANSFORMERS if setting.is_full else setting.title, setting=setting, batch=batch)
        for batch in bench.batches
        for setting in (FULL, *bench.settings)
    ]
    with closing(Scene(bench.scene)) as scene:
        on_run("encoding")
        scene.encode()
        visuals = scene.visuals()
        decoder = scene.session.decoder_slot.put(NONE)
        questions = _questions(decoder, visuals, max(bench.batches), bench.num_prompt_tokens)
        for run in range(bench.num_runs + 1):
            for way in ways:
                on_run(f"{way.name}, batch {way.batch}, " + (f"run {run}" if run else "warming up"))
                _measure(way, decoder, visuals, questions[: way.batch], bench, is_counted=run > 0)
    for way in ways:
        full = max(other.full_bytes for other in ways if other.batch == way.batch)
        way.full_bytes, way.kept_bytes = full, way.kept_bytes or full
    return ways


def _measure(
    way: Way,
    decoder: Decoder,
    visuals: Sequence[Visual],
    questions: Sequence[str],
    bench: KVBench,
    *,
    is_counted: bool,
) -> None:
    spec = GenerationSpec(
        max_new_tokens=bench.num_new_tokens, max_batch=way.batch, max_forks=way.batch
    )
    reset_peak()
    synchronize()
    start = time.perf_counter()
    prefix = decoder.prefill(visuals, [way.setting])
    (answers,) = decoder.answer(prefix, questions, spec, [way.setting])
    synchronize()
    total_s = time.perf_counter() - start
    if not is_counted:
        return
    way.total_s.append(total_s)
    stages = (prefix.seconds, *(answer.seconds for answer in answers))
    way.stages_s.append(sum_seconds(stages))
    way.peak_bytes = max((n for n in (way.peak_bytes, peak()) if n is not None), default=None)
    way.num_prompt_tokens = answers[0].num_prompt_tokens
    way.num_generated_tokens = sum(len(answer.token_ids) for answer in answers)
    used = [answer.kv for answer in answers if answer.kv is not None]
    way.full_bytes = sum(use.full_bytes for use in used)
    way.kept_bytes = sum(use.kept_bytes for use in used)


def _questions(
    decoder: Decoder, visuals: Sequence[Visual], count: int, num_tokens: int | None
) -> list[str]:
    """Return different questions of the same length, padded to a number of prompt tokens."""
    plain = [f"Describe part {number:03d} of what is shown" for number in range(count)]
    prefix = decoder.prefill(visuals)
    length = prefix.num_tokens + len(prefix.suffix(f"{plain[0]}."))
    filling = ""
    if num_tokens is not None:
        if num_tokens < length:
            raise ValueError(
                f"--prompt-tokens {num_tokens}: the media and the shortest question are already "
                f"{length} tokens"
            )
        words = 4 * num_tokens // max(1, len(_FILLING)) + 2
        endless = _FILLING * words
        # As many characters as fit: tokenizers join characters, so bisection finds the number.
        low, high = 0, len(endless)
        while low < high:
            middle = (low + high + 1) // 2
            tokens = prefix.suffix(f"{plain[0]}{endless[:middle]}.")
            fits = prefix.num_tokens + len(tokens) <= num_tokens
            low, high = (middle, high) if fits else (low, middle - 1)
        filling = endless[:low]
    questions = [f"{question}{filling}." for question in plain]
    if len({len(prefix.suffix(question)) for question in questions}) > 1:
        raise ValueError("the model's tokenizer does not give questions of the same length")
    return questions
