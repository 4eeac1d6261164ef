"""A request: what it asks for, where it stands, and when its tokens came."""

from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """Where a request stands. Each stage leads to the next; a preempted request goes back."""

    WAITING = "waiting"
    ENCODED = "encoded"
    PREFILLED = "prefilled"
    RUNNING = "running"
    SWAPPED = "swapped"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a request asks for, under one experiment. Bytes are those of keys and values."""

    sample: str
    """``benchmark/id``."""
    media: str
    """Equal where prompts begin with the same prefix."""
    num_units: int
    """Frames, tiles or images."""
    num_prefix_tokens: int
    """Up to the last visual token."""
    num_prompt_tokens: int
    num_tokens: int
    """Of the answer."""
    max_tokens: int
    """What the answer may be at most, as far as the scheduler knows."""
    full_bytes: int
    """Of the whole prompt, uncompressed."""
    kept_bytes: int
    """Of the prompt, as the setting stores it."""
    token_bytes: int
    """Of one token of the answer."""
    is_compressed: bool
    """Whether there is a stage that compresses."""
    reads_late: bool = False
    """Whether the media alone are compressed, and the question is read after that."""
    adapter: int | None = field(default=None, repr=False)
    """Number of the adapter to answer under; None for the base."""

    @property
    def num_question_tokens(self) -> int:
        """Of the prompt, behind the prefix."""
        return self.num_prompt_tokens - self.num_prefix_tokens

    @property
    def prefix_bytes(self) -> int:
        """Of the prefix, uncompressed."""
        return self.full_bytes * self.num_prefix_tokens // self.num_prompt_tokens

    @property
    def end_bytes(self) -> int:
        """Of prompt and longest answer, as stored."""
        return self.kept_bytes + self.max_tokens * self.token_bytes


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A request on its way."""

    number: int
    arrival_s: float
    demand: Demand
    state: State = State.WAITING
    times_s: list[float] = field(default_factory=list)
    """When each token was there: the end of the action that computed it."""
    ended_s: float | None = None
    queue_s: dict[str, float] = field(default_factory=dict)
    """Seconds waited before each stage."""
    stage_s: dict[str, float] = field(default_factory=dict)
    """Seconds of the actions that it was part of, by stage."""
    queue_length: int = 0
    """Requests that waited when it arrived."""
    since_s: float = 0.0
    """Since when it has waited for its next stage."""
    is_hit: bool = False
    """Whether its prefix was in memory."""
    num_preempted: int = 0
    error: str | None = None

    @property
    def num_emitted(self) -> int:
        """Tokens so far."""
        return len(self.times_s)

    @property
    def has_all(self) -> bool:
        """Whether its answer is complete, as the demand says."""
        return self.num_emitted >= self.demand.num_tokens
