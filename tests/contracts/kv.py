"""The contract of every model family with every KV method. `tests.contracts.family` inherits this.

The reference is a single forward pass over the whole prompt and answer, in which tokens of the
answer see exactly the entries that were kept, at their true positions. It shares no code with the
ragged cache.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import pytest
import torch

from encodeonce.models.kv.asked import batches
from encodeonce.models.kv.forks import Fork
from encodeonce.models.kv.registry import method_class, method_names
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.likelihood import extended_inputs
from encodeonce.models.spec import GenerationSpec
from tests.asking import answered, swept
from tests.contracts.forks import Forks
from tests.contracts.kv_merging import MergingContract
from tests.contracts.logits import TOLERANCE, NotedLogits, Tokens, assert_close
from tests.contracts.own_attention import attending_by

FOREIGN = ("kvpress",)
"""Methods that need another library."""
SELECTING = [
    name
    for name in method_names()
    if name not in ("full", *FOREIGN) and not method_class(name).merges
]
SETTINGS = [KVSpec(method=name, keep=keep) for name in SELECTING for keep in (0.3, 0.6)]
BY_MEDIA = [
    KVSpec(method=name, keep=0.4, scope="media")
    for name in SELECTING
    if not method_class(name).needs_question
]
LONG = GenerationSpec(max_new_tokens=6, max_forks=1000)


@contextmanager
def seeing_only(model: Any, fork: Fork, num_before: int) -> Iterator[None]:
    """Let tokens from ``num_before`` on see only what a fork kept of those before its end."""

    def attend(
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        layer = fork.layers[module.layer_idx]
        num_groups = query.shape[1] // key.shape[1]
        scores = query @ key.repeat_interleave(num_groups, 1).transpose(2, 3) * scaling
        total = scores.shape[-1]
        visible = torch.ones(total, total, dtype=torch.bool).tril()
        if attention_mask is not None:
            visible = attention_mask[0, 0]
        visible = visible.expand(scores.shape[1], -1, -1).clone()
        if layer.window is None:
            for head, indices in enumerate(layer.entries.indices):
                kept = torch.zeros(fork.num_tokens, dtype=torch.bool)
                kept[indices] = True
                mine = slice(head * num_groups, (head + 1) * num_groups)
                visible[mine, num_before:, : fork.num_tokens] &= kept
        scores = scores.masked_fill(~visible, float("-inf"))
        taken = scores.softmax(-1) @ value.repeat_interleave(num_groups, 1)
        return taken.transpose(1, 2).contiguous(), None

    with attending_by(model, "tests_reference", attend):
        yield


def reference_logits(
    decoder: Any, prefix: Any, fork: Fork, question: str, answer: Sequence[int]
) -> torch.Tensor:
    """Return logits (T, V) before each token of an answer."""
    suffix = prefix.suffix(question)
    # A prefix that was compressed alone is read by the question too.
    num_before = fork.num_tokens if fork.num_tokens > prefix.num_tokens else prefix.num_tokens
    # Some openings are embeddings alone.
    given = {"input_ids": torch.zeros(1, 0), **prefix.opening.inputs}
    inputs = extended_inputs(decoder._model, given, [*suffix, *answer[:-1]])
    with seeing_only(decoder._model, fork, num_before), torch.inference_mode():
        output = decoder._model(**inputs)
    logits: torch.Tensor = output.logits[0, prefix.num_tokens + len(suffix) - 1 :]
    return logits


class KVContract(MergingContract):
    """Tests of a family under KV compression; needs the fixtures of `FamilyContract`."""

    def test_decoding_over_a_compressed_cache_sees_what_was_kept(
        self, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = models[list(models)[-1]]
        decoder, visuals = model.decoder, self.visuals(model)
        forks, logits = Forks(monkeypatch), NotedLogits(monkeypatch)
        table = swept(decoder, visuals, self.questions, LONG, [FULL, *SETTINGS])
        prefix = decoder.prefill(visuals)
        suffixes = [prefix.suffix(question) for question in self.questions]
        made = iter(forks.made)
        for batch in batches(suffixes, LONG.max_batch, prefix.is_sliding):
            for n in batch:
                for setting in range(len(SETTINGS)):
                    answer = logits.of(table[setting + 1][n])
                    self._check(decoder, prefix, next(made), self.questions[n], answer)

    def test_questions_over_a_compressed_prefix_see_what_was_kept(
        self, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = models[list(models)[-1]]
        decoder, visuals = model.decoder, self.visuals(model)
        forks, logits = Forks(monkeypatch), NotedLogits(monkeypatch)
        question = self.questions[:1]
        table = swept(decoder, visuals, question, LONG, BY_MEDIA)
        prefix = decoder.prefill(visuals)
        for fork, (answer,) in zip(forks.made, table, strict=True):
            self._check(decoder, prefix, fork, question[0], logits.of(answer))

    def test_the_full_cache_in_a_sweep_is_the_plain_one_bit_for_bit(
        self, models: dict[str, Any]
    ) -> None:
        for model in models.values():
            visuals = self.visuals(model)
            plain = answered(model.decoder, visuals, self.questions, LONG)
            table = swept(
                model.decoder, visuals, self.questions, LONG, [*SETTINGS[:2], FULL, *BY_MEDIA[:1]]
            )
            assert [a.logits_sha256 for a in table[2]] == [a.logits_sha256 for a in plain]

    def test_a_batch_of_questions_is_answered_as_each_alone(
        self, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logits = NotedLogits(monkeypatch)
        model = models[list(models)[-1]]
        visuals = self.visuals(model)
        # Which of two nearly equal tokens another method keeps may hang on a rounding.
        names = ("random", "streaming_llm")
        settings = [one for one in (*SETTINGS, *BY_MEDIA) if one.method in names]
        together = swept(model.decoder, visuals, self.questions, LONG, settings)
        for number, question in enumerate(self.questions):
            alone = swept(model.decoder, visuals, [question], LONG, settings)
            for ours, (theirs,) in zip(together, alone, strict=True):
                logits.assert_close(ours[number], theirs)
                assert ours[number].kv == theirs.kv

    def test_given_texts_are_as_likely_as_token_by_token(
        self, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A text of several tokens goes over the ragged cache in one chunk."""
        model = models[list(models)[-1]]
        decoder, visuals = model.decoder, self.visuals(model)
        forks = Forks(monkeypatch)
        texts = ["a red circle", "no"]
        settings = [*SETTINGS, FULL]
        prefix = decoder.prefill(visuals, settings)
        table = decoder.score(prefix, self.questions[:1], [texts], settings)
        for fork, (found,) in zip(forks.made, table[:-1], strict=True):
            for text, log_prob in zip(texts, found.log_probs, strict=True):
                ids = decoder._tokenizer(text, add_special_tokens=False).input_ids
                logits = reference_logits(decoder, prefix, fork, self.questions[0], ids)
                expected = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum()
                assert log_prob == pytest.approx(float(expected), abs=10 * TOLERANCE)
        (plain,) = decoder.score(decoder.prefill(visuals), self.questions[:1], [texts])
        assert table[-1][0].log_probs == plain[0].log_probs

    def _check(self, decoder: Any, prefix: Any, fork: Fork, question: str, answer: Tokens) -> None:
        # A random model may write a placeholder, which a whole prompt cannot hold.
        placeholders = {
            token
            for token, is_visual in zip(
                prefix.opening.token_ids, prefix.opening.is_visual, strict=True
            )
            if is_visual
        }
        tokens = list(takewhile(lambda token: token not in placeholders, answer.token_ids))
        tokens += answer.token_ids[len(tokens) : len(tokens) + 1]
        expected = reference_logits(decoder, prefix, fork, question, tokens)
        got = Tokens(tokens, answer.logits_TV[: len(tokens)])
        assert_close(got, Tokens(expected.argmax(-1).tolist(), expected))
