"""Prepares the page's gallery: questions about the same frames share a card."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encodeonce.harness.report.options import answer_words, options_by_letter, target_words
from encodeonce.harness.report.thumbnails import Preview, SampleKey, Strip
from encodeonce.harness.results.summary import Summary

LONGEST_TEXT = 2000
"""Characters shown of a question or an answer."""

KINDS = {
    "uncached": "caching changed it",
    "lost": "right, then lost",
    "wrong": "wrong",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SameAnswer:
    """An answer, and the variants that gave it."""

    variants: tuple[str, ...]
    text: str
    worth: str = ""
    """``"right"`` or ``"wrong"``; empty where nothing was scored."""
    worth_words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A question with its answers."""

    kind: str
    benchmark: str
    variants_json: str
    """Names of the variants that a reader can filter by: a JSON list, for the page's script."""
    where: str
    question: str
    choices: str
    """Empty where the question is open."""
    target: str
    answers: tuple[SameAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Frames and the questions about them."""

    strip: Strip
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Answers to look at."""

    num_shown: int
    num_found: int
    filters: Mapping[str, Mapping[str, str]]
    """The filters (kind, benchmark, variant): each one's values and their labels."""
    cards: tuple[Card, ...]


def gallery_of(summary: Summary, previews: Mapping[SampleKey, Preview]) -> Gallery | None:
    """Return the cards of a run; None where there is nothing to show.

    Args:
        summary: of the run.
        previews: what the samples look like. A sample without one is shown without frames.
    """
    found = summary["gallery"]
    if found is None:
        return None
    items = found["items"]
    unseen = Preview(strip=Strip(missing="no previews were made"))
    cards: dict[Strip, list[Entry]] = {}
    for item in items:
        preview = previews.get((item["benchmark"], item["sample"]), unseen)
        cards.setdefault(preview.strip, []).append(_entry(item, preview.choices))
    return Gallery(
        num_shown=len(items),
        num_found=found["num_found"],
        filters=_filters(items),
        cards=tuple(Card(strip=strip, entries=tuple(found)) for strip, found in cards.items()),
    )


def _filters(items: Sequence[Summary]) -> dict[str, dict[str, str]]:
    return {
        "kind": {item["kind"]: KINDS[item["kind"]] for item in items},
        "benchmark": {item["benchmark"]: item["benchmark"] for item in items},
        "variant": {name: name for item in items for name in _variants(item)},
    }


def _variants(item: Summary) -> list[str]:
    """Return the names of the answers that differ from the first."""
    names = [str(answer["variant"]) for answer in item["answers"]]
    return names[1:] or names


def _entry(item: Summary, known_choices: Sequence[str]) -> Entry:
    # Records of earlier versions have no options; the benchmark may still be there.
    choices = [_cut(choice) for choice in item["choices"] or known_choices]
    tags = ", ".join(f"{name}: {value}" for name, value in item["tags"].items())
    where = (KINDS[item["kind"]], f"{item['benchmark']}/{item['sample']}", tags)
    return Entry(
        kind=item["kind"],
        benchmark=item["benchmark"],
        variants_json=json.dumps(_variants(item)),
        where=" · ".join(part for part in where if part),
        question=_cut(item["question"]),
        choices=_cut(" · ".join(options_by_letter(choices).values())),
        target=target_words(_cut(item["target"]), choices),
        answers=tuple(_answers(item["answers"], choices)),
    )


def _answers(answers: Sequence[Mapping[str, Any]], choices: Sequence[str]) -> Iterator[SameAnswer]:
    """Yield the answers, identical ones grouped."""
    variants: dict[tuple[str | None, float | None], list[str]] = {}
    for answer in answers:
        text = answer["text"]
        if text is not None:
            text = answer_words(_cut(text), answer["extracted"], choices)
        variants.setdefault((text, answer["score"]), []).append(answer["variant"])
    for (text, score), names in variants.items():
        worth = "" if score is None else "right" if score >= 0.5 else "wrong"
        yield SameAnswer(
            variants=tuple(names),
            text="no text" if text is None else text,
            worth=worth,
            worth_words=worth if score in (None, 0.0, 1.0) else f"score {score:.2f}",
        )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… (cut)"
