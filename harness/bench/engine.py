"""Measures decoding many answers together, against other ways to give the same answers.

The job: pictures with stored features, questions on each. Ways, interleaved in every round:
transformers' ``generate`` on each whole prompt; ``generate`` behind a prefix that a picture's
questions share, one picture at a time; and the engine with ever more pictures in a batch.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.bench.limits import Limits, measure_limits
from encodeonce.harness.bench.scene import Scene, SceneSpec
from encodeonce.models.answer import Generation
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.prefix import Prefix, continued
from encodeonce.models.spec import NONE, GenerationSpec
from encodeonce.models.synthetic.media import write_picture
from encodeonce.models.timing import synchronize
from encodeonce.models.vision.visual import Visual

Tokens = list[tuple[int, ...]]
"""Of each answer, picture by picture."""
Work = Callable[[], tuple[Tokens, "Spent"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBench:
    """What to measure."""

    scene: SceneSpec
    """The model; its media item is replaced by pictures of noise."""
    num_pictures: int
    questions: tuple[str, ...]
    num_new_tokens: int
    num_rounds: int

    @property
    def num_answers(self) -> int:
        """Of the whole job."""
        return self.num_pictures * len(self.questions)


@dataclass(slots=True)
class Spent:
    """Where the engine's time went."""

    prefill_s: float = 0.0
    read_s: float = 0.0
    decode_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Way:
    """One way of answering, over all rounds."""

    name: str
    batch: int
    """Answers decoded together."""
    total_s: list[float] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    num_same: int = 0
    """Answers with the tokens of the first way."""

    @property
    def median_s(self) -> float:
        """Seconds of the whole job."""
        return statistics.median(self.total_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much of what the machine can do was reached, by round."""

    prefill: tuple[float, ...]
    decode: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult:
    """All measurements."""

    ways: tuple[Way, ...]
    limits: tuple[Limits, ...]
    """Of the machine, by round."""
    share: Share
    """Of the last way."""
    num_prefix_tokens: int
    num_parameters: int
    """That a step reads."""
    kernels: Mapping[str, str]
    """`LoadedWeights.kernels`."""


def run_engine_bench(bench: EngineBench, on_run: Callable[[str], None]) -> EngineResult:
    """Measure all ways, interleaved, after a round that is not counted.

    Args:
        bench: what to measure.
        on_run: called before each run, with the way's name.

    Raises:
        CheckpointError: the model cannot be used.
    """
    with closing(Scene(bench.scene)) as scene:
        job = _Job(bench, scene)
        limits, expected = [], None
        for number in range(1 + bench.num_rounds):
            on_run("the machine's limits")
            limits.append(measure_limits(job.model.dtype, job.model.device))
            for way, work in job.ways:
                on_run(way.name)
                synchronize()
                start = time.perf_counter()
                tokens, spent = work()
                synchronize()
                if number:
                    way.total_s.append(time.perf_counter() - start)
                    way.spent.append(spent)
                expected = expected or tokens
                way.num_same = sum(a == b for a, b in zip(tokens, expected, strict=True))
        return EngineResult(
            ways=tuple(way for way, _ in job.ways),
            limits=tuple(limits[1:]),
            share=job.share(limits[1:]),
            num_prefix_tokens=job.prefix.num_tokens,
            num_parameters=job.num_parameters,
            kernels=job.kernels,
        )


class _Job:
    """The pictures, the questions, and the ways to answer them."""

    def __init__(self, bench: EngineBench, scene: Scene) -> None:
        self._bench = bench
        self._decoder = cast(PrefixDecoder, scene.session.decoder_slot.put(NONE))
        self.model = self._decoder.model
        self.kernels = self._decoder.loaded.kernels
        self._media = _encoded(bench, scene)
        self.prefix: Prefix = self._decoder.prefill(self._media[0])
        self.num_parameters = sum(
            module.weight.numel()
            for module in self.model.modules()
            if isinstance(module, nn.Linear)
        )
        count = len(bench.questions)
        sizes = dict.fromkeys((1, max(1, bench.num_pictures // 2), bench.num_pictures))
        self.ways: list[tuple[Way, Work]] = [
            (Way(name="generate, each question", batch=1), self._each_question),
            (Way(name="generate, shared prefix", batch=count), self._shared_prefix),
        ]
        for size in sizes:
            name = f"engine, {size} picture{'s' if size > 1 else ''}"
            self.ways.append((Way(name=name, batch=size * count), partial(self._engine, size)))
        if self.model.device.type == "cuda":
            last, _ = self.ways[-1]
            recorded = partial(self._engine, bench.num_pictures, cuda_graphs=True)
            self.ways.append((Way(name=f"{last.name}, CUDA graphs", batch=last.batch), recorded))

    def _each_question(self) -> tuple[Tokens, Spent]:
        """Answer as transformers does when it is given features: every prompt is prefilled."""
        found = []
        for visuals in self._media:
            for question in self._bench.questions:
                inputs = self._decoder.whole_prompt(visuals, question, "")
                found += self._generate(**inputs)
        return found, Spent()

    def _shared_prefix(self) -> tuple[Tokens, Spent]:
        """Answer each picture's questions by ``generate``, from copies of their prefix's cache."""
        found = []
        for visuals in self._media:
            prefix = self._decoder.prefill(visuals)
            inputs = self._padded(prefix)
            cache = prefix.fork(len(self._bench.questions))
            with continued(self.model, prefix):
                found += self._generate(**inputs, past_key_values=cache)
        return found, Spent()

    def _generate(self, **inputs: Any) -> Tokens:
        with torch.inference_mode():
            output = self.model.generate(
                **inputs,
                max_new_tokens=self._bench.num_new_tokens,
                do_sample=False,
                num_beams=1,
            )
        return [tuple(row) for row in output[:, inputs["input_ids"].shape[1] :].tolist()]

    def _padded(self, prefix: Prefix) -> dict[str, torch.Tensor]:
        """Return whole prompts, with masked tokens between the prefix and shorter questions."""
        suffixes = [prefix.suffix(question) for question in self._bench.questions]
        longest = max(map(len, suffixes))
        rows, mask = [], []
        for suffix in suffixes:
            lacking = longest - len(suffix)
            rows.append([*prefix.opening.token_ids, *suffix[:1] * lacking, *suffix])
            mask.append([*[1] * prefix.num_tokens, *[0] * lacking, *[1] * len(suffix)])
        device = self.model.device
        return {
            "input_ids": torch.tensor(rows, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }

    def _engine(self, num_pictures: int, *, cuda_graphs: bool = False) -> tuple[Tokens, Spent]:
        """Answer with the engine, some pictures at a time."""
        count = len(self._bench.questions)
        generation = GenerationSpec(
            max_new_tokens=self._bench.num_new_tokens,
            max_batch=num_pictures * count,
            cuda_graphs=cuda_graphs,
        )
        engine = self._decoder.engine(generation)
        prefill_s = 0.0
        for number, visuals in enumerate(self._media):
            prefix = self._decoder.prefill(visuals)
            prefill_s += prefix.seconds["prefill"]
            engine.ask(number, prefix, self._bench.questions, number % num_pictures * count)
        found: list[Generation] = [
            answer for _, (answers,) in sorted(engine.finish().items()) for answer in answers
        ]
        spent = Spent(
            prefill_s=prefill_s,
            read_s=sum(answer.seconds.get("prefill", 0.0) for answer in found),
            decode_s=sum(answer.seconds.get("generate", 0.0) for answer in found),
        )
        return [answer.token_ids for answer in found], spent

    def share(self, limits: Sequence[Limits]) -> Share:
        """Return how much of the machine's limits the last way has reached, by round."""
        way, _ = self.ways[-1]
        config = self.model.config.get_text_config()
        head = config.vocab_size * config.hidden_size
        num_tokens = self.prefix.num_tokens
        # Each token looks at half of the others on average: two products of the queries' width.
        width = config.num_attention_heads * self._head_width
        attention = 2 * 2 * num_tokens**2 / 2 * width
        # Of the last layer, keys and values alone are computed: about a tenth of it.
        layer = 2 * (self.num_parameters - head) / config.num_hidden_layers * num_tokens + attention
        prefill = layer * (config.num_hidden_layers - 0.9)
        size = self.model.dtype.itemsize
        prefixes = self._bench.num_pictures * self.prefix.nbytes
        num_steps = self._bench.num_new_tokens - 1
        operations = 2 * self.num_parameters * self._bench.num_answers
        prefills, decodes = [], []
        for limit, spent in zip(limits, way.spent, strict=True):
            least = self._bench.num_pictures * limit.seconds(0, prefill)
            prefills.append(least / spent.prefill_s)
            step = limit.seconds(self.num_parameters * size + prefixes, operations)
            decodes.append(num_steps * step / spent.decode_s if num_steps else 0.0)
        return Share(prefill=tuple(prefills), decode=tuple(decodes))

    @property
    def _head_width(self) -> int:
        keys: torch.Tensor = self.prefix.layers[0].keys
        return keys.shape[-1]


def _encoded(bench: EngineBench, scene: Scene) -> list[list[Visual]]:
    """Write the pictures, store their features, and return what is read back."""
    folder = bench.scene.folder.parent / "pictures"
    folder.mkdir(exist_ok=True)
    found = []
    with scene.encoding() as session:
        for number in range(bench.num_pictures):
            path = write_picture(folder / f"{number}.png", seed=number)
            ref = MediaRef(kind="image", path=path.name)
            request = session.look_up(folder.absolute(), ref, "bench")
            session.features.ensure(request)
            found.append([session.visual(request)])
    return found
