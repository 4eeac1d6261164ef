"""Records: one line of JSON for each sample and variant, appended, never rewritten."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from encodeonce.datasets.refusal_words import told
from encodeonce.harness.run.variant import BASELINE
from encodeonce.models.answer import Fidelity, KVUse, LoadedWeights

LOADING = ("load",)
"""Stages of `Record.seconds` that load a model; the tower is loaded where features were missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleError:
    """Why a sample has no answer."""

    type: str
    """Name of the exception's class, e.g. ``"UndecodableMedia"``."""
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe an exception."""
        return cls(type=type(error).__name__, message=told(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """The cost of getting the features of some media, in units, frames and bytes."""

    num_units: int = 0
    num_hits: int = 0
    num_hits_below: int = 0
    """Of the hits, those in `cache.readonly`."""
    num_encoded: int = 0
    num_frames_decoded: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def __add__(self, other: "CacheUse") -> "CacheUse":
        return CacheUse(
            num_units=self.num_units + other.num_units,
            num_hits=self.num_hits + other.num_hits,
            num_hits_below=self.num_hits_below + other.num_hits_below,
            num_encoded=self.num_encoded + other.num_encoded,
            num_frames_decoded=self.num_frames_decoded + other.num_frames_decoded,
            bytes_read=self.bytes_read + other.bytes_read,
            bytes_written=self.bytes_written + other.bytes_written,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A sample's answer under one variant, or the error in its place.

    What a group of samples shares (decoding, reading features) is booked on the group's first
    record, so that sums over records are right.
    """

    run: str
    """`RunFolder.fingerprint`."""
    benchmark: str
    sample: str
    group: str
    """Cluster for confidence intervals."""
    variant: str = BASELINE.name
    """`Variant.name`."""
    question: str
    target: str
    choices: tuple[str, ...] = ()
    """Texts of the options; empty for a free answer, and in records of earlier versions."""
    tags: Mapping[str, str] = field(default_factory=dict)
    media_sha256: tuple[str, ...] = ()
    """Digest of each of the sample's media files as they were then, in the sample's order; empty
    where it was not known (a file is missing, or the record is older than this field)."""
    text: str | None = None
    token_ids: tuple[int, ...] = ()
    """Of a generated answer, including the end-of-text token if it was reached."""
    extracted: str | None = None
    score: float | None = None
    error: SampleError | None = None
    logits_sha256: str | None = None
    first_logits: Mapping[str, float] = field(default_factory=dict)
    """The largest of the first token's logits, by token id."""
    log_probs: Mapping[str, float] = field(default_factory=dict)
    """Natural logarithms of probabilities: of options by letter, or of the ``reference``."""
    num_scored_tokens: Mapping[str, int] = field(default_factory=dict)
    """Tokens of each of these texts."""
    first_log_probs: Mapping[str, float] = field(default_factory=dict)
    """The part of `log_probs` that is each text's first token."""
    kv: KVUse | None = None
    """The bytes that the cache kept, where it was compressed."""
    fidelity: Fidelity | None = None
    """Where it was asked for, and the cache was compressed."""
    num_visual_units: int = 0
    """Frames, tiles or images that the model saw."""
    num_prompt_tokens: int = 0
    num_prefix_tokens: int = 0
    """Of these, what questions about the same media share; 0 in records of earlier versions."""
    num_cached_tokens: int = 0
    """Of the prompt, found in vLLM's prefix cache; 0 under another engine."""
    num_generated_tokens: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    cache: CacheUse = field(default_factory=CacheUse)
    peak_bytes: int = 0
    """Peak memory of the worker since it began to load the weights: GPU memory allocated, or
    resident memory on a CPU."""
    loaded: LoadedWeights | None = None
    """On the first record for which a worker loaded the weights."""
    worker: str | None = None
    """Who answered, ``host:pid``; `logs/workers.jsonl` in the run's folder says more of them."""
    finished_at: str | None = None
    """When the driver wrote it, UTC, ISO 8601."""

    @property
    def key(self) -> tuple[str, str, str]:
        """The key that has at most one answer."""
        return (self.benchmark, self.sample, self.variant)

    def is_about_files_of(self, other: "Record") -> bool:
        """Return whether another record of the sample is about the same content, if both know."""
        return not (self.media_sha256 and other.media_sha256) or (
            self.media_sha256 == other.media_sha256
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `stored.record_of` undoes it."""
        return asdict(self)
