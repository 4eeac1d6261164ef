"""The kinds of scoring: an answer is generated, chosen by likelihood or head, or only measured."""

import string
from collections.abc import Mapping
from dataclasses import replace

from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample
from encodeonce.harness.run.config import Scoring
from encodeonce.harness.run.record import Record
from encodeonce.models.answer import Generation, Likelihoods

REFERENCE = "reference"
"""Name of the target among `Record.log_probs`."""


def check_scorable(scoring: Scoring, sample: Sample) -> None:
    """Refuse a sample that cannot be scored in this way.

    Raises:
        BenchmarkError: it has no options, or no reference text.
    """
    if scoring == "choice_likelihood" and not sample.choices:
        raise BenchmarkError(
            f"scoring 'choice_likelihood' compares the likelihoods of options, and sample "
            f"{sample.id!r} has none; use scoring: generate"
        )
    letters = list(string.ascii_uppercase[: len(sample.choices)])
    if scoring == "choice_likelihood" and sample.target not in letters:
        raise BenchmarkError(
            f"scoring 'choice_likelihood' compares the likelihoods of letters, and the options of "
            f"sample {sample.id!r} have none (target: {sample.target!r}); use scoring: generate"
        )
    if scoring == "nll" and not sample.target:
        raise BenchmarkError(
            f"scoring 'nll' measures the target's likelihood, and sample {sample.id!r} has none"
        )


def continuations(scoring: Scoring, sample: Sample) -> Mapping[str, str]:
    """Return the texts whose likelihoods are needed, by name.

    Options are listed in the prompt by letters, so the letters are the answers.
    """
    if scoring == "nll":
        return {REFERENCE: sample.target}
    return {letter: letter for letter in string.ascii_uppercase[: len(sample.choices)]}


def with_generation(
    record: Record, benchmark: Benchmark, sample: Sample, got: Generation
) -> Record:
    """Return the record of a generated answer."""
    score = benchmark.score(sample, got.text)
    return replace(
        record,
        text=got.text,
        token_ids=got.token_ids,
        extracted=score.extracted,
        score=score.value,
        logits_sha256=got.logits_sha256,
        first_logits={str(token): logit for token, logit in got.first_logits.items()},
        num_visual_units=got.num_visual_units,
        num_prompt_tokens=got.num_prompt_tokens,
        num_prefix_tokens=got.num_prefix_tokens,
        num_cached_tokens=got.num_cached_tokens,
        num_generated_tokens=len(got.token_ids),
        kv=got.kv,
        fidelity=got.fidelity,
    )


def with_likelihoods(
    record: Record, benchmark: Benchmark, sample: Sample, scoring: Scoring, got: Likelihoods
) -> Record:
    """Return the record of likelihoods; among options, the likeliest is the answer."""
    names = got.classes or tuple(continuations(scoring, sample))
    log_probs = dict(zip(names, got.log_probs, strict=True))
    record = replace(
        record,
        log_probs=log_probs,
        num_scored_tokens=dict(zip(names, got.num_tokens, strict=True)),
        # Empty where a way of answering does not report it separately.
        first_log_probs=dict(zip(names, got.first_log_probs, strict=False)),
        kv=got.kv,
        num_visual_units=got.num_visual_units,
        num_prompt_tokens=got.num_prompt_tokens,
    )
    if scoring == "nll":
        return record
    chosen = max(names, key=log_probs.__getitem__)
    score = benchmark.score(sample, chosen)
    return replace(record, text=chosen, extracted=score.extracted, score=score.value)
