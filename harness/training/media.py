"""What trainings learn from: media, split into parts, and the tokens of right answers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from encodeonce.cache_store.store import MissingFeatures
from encodeonce.harness.run.plan import MediaGroup, without_samples
from encodeonce.harness.workers.session import Session
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.generation import ends_of
from encodeonce.models.vision.visual import Visual


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Media for training and for validation: none is in both."""

    training: tuple[MediaGroup, ...]
    held_out: tuple[MediaGroup, ...]


def split(groups: Sequence[MediaGroup], session: Session, fraction: float, seed: int) -> Split:
    """Return which groups only validation sees: drawn by the digests of their media.

    Raises:
        ValueError: there are too few media for both parts.
    """
    by_media: dict[str, list[MediaGroup]] = {}
    for group in groups:
        digests = session.media_sha256(group.root, group.media)
        name = " ".join(digests) or f"{group.root} {group.media}"
        by_media.setdefault(name, []).append(group)
    if len(by_media) < 2:
        raise ValueError(
            f"training needs media in both parts, for training and for validation; the run has "
            f"{len(by_media)}"
        )
    drawn = sorted(by_media, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    count = min(len(drawn) - 1, max(1, round(len(drawn) * fraction)))
    chosen = set(drawn[:count])
    return Split(
        training=tuple(g for name in by_media if name not in chosen for g in by_media[name]),
        held_out=tuple(g for name in by_media if name in chosen for g in by_media[name]),
    )


def first_in_turn(groups: Sequence[MediaGroup], count: int) -> tuple[MediaGroup, ...]:
    """Return ``count`` questions: the first of every group, then the second of each, and so on."""
    turns: Any = zip_longest(*([(g.benchmark, s.id) for s in g.samples] for g in groups))
    ordered = [one for turn in turns for one in turn if one is not None]
    return without_samples(groups, set(ordered[count:]))


def require_apart(
    training: Sequence[MediaGroup], judging: Sequence[MediaGroup], session: Session
) -> None:
    """Refuse to judge by media that were learnt from, whatever their files are called.

    Raises:
        ValueError: a medium is in both parts.
    """
    learnt = _by_digest(training, session)
    for digest, name in _by_digest(judging, session).items():
        if digest in learnt:
            raise ValueError(
                f"{name} is judged by and has the content of {learnt[digest]}, which is learnt "
                "from; judge by other media"
            )


def _by_digest(groups: Sequence[MediaGroup], session: Session) -> dict[str, str]:
    return {
        digest: f"{group.benchmark!r}: {ref.path}"
        for group in groups
        for ref in group.media
        for digest in session.media_sha256(group.root, [ref])
    }


def num_media(groups: Sequence[MediaGroup]) -> int:
    """Return how many different media several benchmarks' groups are about."""
    return len({(group.root, group.media) for group in groups})


def answers_of(decoder: PrefixDecoder, texts: Sequence[str], limit: int) -> list[Sequence[int]]:
    """Return the tokens of answers, cut to ``limit``, each with the end of a text behind it."""
    end = sorted(ends_of(decoder.model))[:1]
    tokens = decoder.tokenizer(list(texts), add_special_tokens=False).input_ids
    return [[*one[:limit], *end] for one in tokens]


def visuals_of(session: Session, group: MediaGroup) -> list[Visual]:
    """Return a group's media with their features.

    Raises:
        MediaError: one has to be decoded and cannot be.
        ValueError: features are missing and are not to be encoded.
    """
    try:
        return [
            session.visual(session.look_up(group.root, ref, group.benchmark)) for ref in group.media
        ]
    except MissingFeatures as error:
        raise ValueError(f"{error}. Leave cache.on_miss out, and they are encoded") from error
