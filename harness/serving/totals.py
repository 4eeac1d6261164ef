"""What a scheduler counts over a workload."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Totals:
    """Counts over a workload."""

    num_actions: int = 0
    num_steps: int = 0
    """Decode steps."""
    num_rows: int = 0
    """Summed over decode steps."""
    num_preempted: int = 0
    num_hits: int = 0
    num_misses: int = 0
    peak_reserved_bytes: int = 0
    peak_allocated_bytes: int = 0
    num_switches: int = 0
    """Times that another adapter, or none, came into the weights."""
    merged_s: float = 0.0
    """Seconds of actions with an adapter in the weights."""
    mixed_s: float = 0.0
    """Seconds of actions for requests under several, with one of them in the weights."""
    ended_s: float = 0.0
