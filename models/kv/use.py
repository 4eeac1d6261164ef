"""What a compressed cache held and how close its answers stay: measured, never nominal."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KVUse:
    """Bytes of one question's keys and values, scales of quantised entries included."""

    full_bytes: int
    """Of the whole prompt in the model's precision."""
    kept_bytes: int
    """Of what the method left of the prompt, as stored."""
    kept_visual_bytes: int
    """The part of ``kept_bytes`` that belongs to visual tokens."""
    full_visual_bytes: int
    """The part of ``full_bytes`` that belongs to visual tokens."""
    full_end_bytes: int
    """Of prompt and answer, uncompressed."""
    end_bytes: int
    """Of what was held when the answer ended."""
    keep_by_layer: tuple[float, ...]
    """Kept bytes over full bytes of the prompt, each layer."""

    @property
    def keep(self) -> float:
        """Fraction of the prompt's bytes that was kept."""
        return self.kept_bytes / self.full_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How a compressed cache continues the full cache's own greedy answer, teacher-forced.

    The answer's first token is left out: its logits come from the full prefill.
    """

    num_tokens: int
    num_agreeing: int
    """Positions where both caches' likeliest token is the same."""
    total_kl: float
    """Sum over positions of KL(full || compressed), nats, from float32 log-softmax."""
