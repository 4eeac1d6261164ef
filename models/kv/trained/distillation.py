"""One lesson of a compressor: what the full cache says about some answers, and what is to say it.

The language model is frozen. The teacher reads questions and answers over the whole prefix; the
student reads the same tokens over the compressed one, in one differentiable pass over the same
ragged cache that answers use.

Shapes: L compressed layers, K heads of keys, N tokens of a prompt, R rows, T tokens, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from encodeonce.models.kv.cohort import cohort_of, forward, over
from encodeonce.models.kv.forks import Fork, KVLayer
from encodeonce.models.kv.prompts import window_layer
from encodeonce.models.kv.selection import Entries
from encodeonce.models.kv.trained.compressor import Compressor, stacked
from encodeonce.models.kv.trained.grouping import Grouping, group_tokens
from encodeonce.models.kv.trained.header import CompressorForm
from encodeonce.models.kv.trained.loss import Outputs
from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.prefix import Prefix, continued

Scope = Literal["question", "media"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStates:
    """A prompt's keys and values before compression."""

    keys: torch.Tensor
    """(L, K, N, D), after rotation."""
    values: torch.Tensor
    """(L, K, N, D)."""
    is_visual: torch.Tensor
    """(N,) bool."""
    numbers: Sequence[int]
    """Of the L layers, in the model."""
    windows: Mapping[int, KVLayer]
    """Layers with a sliding window, which are not compressed."""

    @property
    def nbytes(self) -> int:
        """Of keys and values."""
        return self.keys.nbytes + self.values.nbytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Rows that the student reads, and the teacher's outputs at the same tokens."""

    prompts: Sequence[PromptStates]
    """Of each row; of all rows if it is one."""
    token_ids: torch.Tensor
    """(R, T), padded on the right."""
    is_real: torch.Tensor
    """(R, T) bool."""
    is_answer: torch.Tensor
    """(R, T) bool: the next token is the answer's."""
    teacher: Outputs
    position_offset: int

    @property
    def nbytes(self) -> int:
        """Of its tensors."""
        return self.teacher.nbytes + sum(prompt.nbytes for prompt in self.prompts)


def make_lesson(
    model: Any,
    prefix: Prefix,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    scope: Scope,
    *,
    with_hidden: bool,
) -> Lesson:
    """Return a lesson about one prefix.

    Args:
        model: of transformers, without gradients.
        prefix: of all rows.
        rows: tokens of each question and of its answer, of one token at least; two under scope
            "question", where the first one's logits are the full prefill's.
        scope: what is compressed: the prefix, or the prompt with its question.
        with_hidden: whether hidden states are compared.
    """
    whole = [[*question, *answer[:-1]] for question, answer in rows]
    firsts = [0 if scope == "media" else len(question) for question, _ in rows]
    cache = prefix.fork(len(rows))
    with torch.no_grad(), continued(model, prefix):
        start = prefix.num_tokens + prefix.opening.position_offset
        token_ids = _padded(whole).to(model.device)
        positions = start + torch.arange(token_ids.shape[1], device=model.device)
        output = model(
            input_ids=token_ids,
            position_ids=positions.expand(len(rows), -1),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=with_hidden,
        )
    ends = [len(one) for one in whole]
    states = (
        [_prefix_states(prefix)]
        if scope == "media"
        else [_prompt_states(prefix, cache, row, first) for row, first in enumerate(firsts)]
    )
    hidden = output.hidden_states[1:] if with_hidden else ()
    fed = [one[first:] for one, first in zip(whole, firsts, strict=True)]
    lengths = torch.tensor([len(one) for one in fed], device=model.device)
    answers = torch.tensor([len(answer) for _, answer in rows], device=model.device)
    if scope == "question":
        answers = answers - 1
    places = torch.arange(int(lengths.max()), device=model.device)
    is_real = places < lengths[:, None]
    return Lesson(
        prompts=states,
        token_ids=_padded(fed).to(model.device),
        is_real=is_real,
        is_answer=is_real & (places >= (lengths - answers)[:, None]),
        teacher=Outputs(
            _cut(output.logits, firsts, ends), [_cut(one, firsts, ends) for one in hidden]
        ),
        position_offset=prefix.opening.position_offset,
    )


def student(model: Any, compressor: Compressor, lesson: Lesson, *, with_hidden: bool) -> Outputs:
    """Return what the model says over compressed prompts; gradients reach the compressor alone.

    Args:
        model: of transformers, without gradients.
        compressor: in training or not.
        lesson: what to read.
        with_hidden: whether hidden states are wanted.
    """
    forks = [compressed(compressor, prompt) for prompt in lesson.prompts]
    if len(forks) == 1:
        forks = forks * len(lesson.token_ids)
    cohort = cohort_of(forks, lesson.position_offset, lesson.token_ids.shape[1])
    with over(model, cohort):
        output = forward(model, cohort, lesson.token_ids, output_hidden_states=with_hidden)
    return Outputs(output.logits, output.hidden_states[1:] if with_hidden else ())


def compressed(compressor: Compressor, prompt: PromptStates) -> Fork:
    """Return a prompt's compressed cache."""
    form: CompressorForm = compressor.form
    grouping: Grouping = group_tokens(prompt.is_visual, form)
    keys, values = compressor(prompt.keys, prompt.values, grouping)
    layers = dict(prompt.windows)
    for number, some, others in zip(prompt.numbers, keys, values, strict=True):
        indices = grouping.indices.expand(len(some), -1)
        layers[number] = KVLayer(
            entries=Entries(keys=some, values=others, indices=indices), window=None
        )
    return Fork(
        layers=[layers[number] for number in sorted(layers)],
        is_visual=prompt.is_visual,
        precision="model",
        positions=form.positions,
        eviction=None,
        adapter=BASE,
    )


def _prefix_states(prefix: Prefix) -> PromptStates:
    whole = {n: layer for n, layer in enumerate(prefix.layers) if not layer.is_sliding}
    windows = {n: layer for n, layer in enumerate(prefix.layers) if layer.is_sliding}
    keys = stacked([layer.keys[0] for layer in whole.values()])
    return PromptStates(
        keys=keys,
        values=stacked([layer.values[0] for layer in whole.values()]),
        is_visual=torch.tensor(prefix.opening.is_visual, device=keys.device),
        numbers=list(whole),
        windows={
            n: window_layer(
                layer.keys[0], layer.values[0], int(layer.sliding_window), prefix.num_tokens
            )
            for n, layer in windows.items()
        },
    )


def _prompt_states(prefix: Prefix, cache: Any, row: int, num_question: int) -> PromptStates:
    """Return a prompt's states with those of its question, from the teacher's cache."""
    if prefix.is_sliding:
        raise ValueError(
            "compressor.scope: 'question' cannot be trained for models with sliding windows; use "
            "'media'"
        )
    end = prefix.num_tokens + num_question
    flags = [*prefix.opening.is_visual, *[False] * num_question]
    keys = stacked([layer.keys[row, :, :end] for layer in cache.layers])
    return PromptStates(
        keys=keys,
        values=stacked([layer.values[row, :, :end] for layer in cache.layers]),
        is_visual=torch.tensor(flags, device=keys.device),
        numbers=range(len(cache.layers)),
        windows={},
    )


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _cut(states: torch.Tensor, firsts: Sequence[int], ends: Sequence[int]) -> torch.Tensor:
    """Return (R, T, ...) of each row's part of (R, S, ...), padded with zeros."""
    parts = [row[first:end] for row, first, end in zip(states, firsts, ends, strict=True)]
    return pad_sequence(parts, batch_first=True)
