"""Workloads by hand: demands, costs, and a scheduler over them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from encodeonce.harness.serving.arrivals import OpenSource, Source
from encodeonce.harness.serving.costs import Costs, VariantCosts
from encodeonce.harness.serving.engine import VirtualClock
from encodeonce.harness.serving.loads import Limits
from encodeonce.harness.serving.monitor import Monitor
from encodeonce.harness.serving.policy import Policy, make_policy
from encodeonce.harness.serving.request import Demand, Request
from encodeonce.harness.serving.scheduler import Scheduler
from encodeonce.harness.serving.simulated import SimulatedEngine

TOKEN = 10
"""Bytes of a token's keys and values."""

COSTS = Costs(
    format="encodeonce costs 1",
    date="",
    command="",
    hardware={},
    versions={},
    model="by hand",
    architecture_sha256="0" * 64,
    dtype="float32",
    clock="wall",
    token_bytes=TOKEN,
    fetch=(0.001, 0.0),
    encode=(0.01, 0.005),
    swap=(0.001, 1e-6),
    variants={
        "none/full": VariantCosts(
            prefill=(0.01, 0.0001, 0.0),
            read=(0.005, 0.0001, 0.0),
            compress=(0.002, 0.0),
            decode=(0.006, 0.0005, 0.0, 0.0),
        )
    },
    residuals={},
    points={},
)

PROTOTYPE = COSTS.model_copy(
    update={
        "fetch": (0.0, 0.0),
        "variants": {
            "none/full": VariantCosts(
                prefill=(0.0, 0.053 / 565, 0.0),
                read=(0.009, 0.053 / 565, 0.0),
                compress=(0.002, 0.0),
                decode=(0.0065, 0.00006, 0.00032 / (2.2 * 2**20), 0.0),
            )
        },
    }
)
"""Costs of the demo before questions of several media were decoded together."""


def a_demand(**changes: Any) -> Demand:
    """Return a demand of 100 prompt tokens, 80 of them shared, and 10 more to answer."""
    plain = Demand(
        sample="b/s",
        media="m",
        num_units=8,
        num_prefix_tokens=80,
        num_prompt_tokens=100,
        num_tokens=10,
        max_tokens=10,
        full_bytes=100 * TOKEN,
        kept_bytes=100 * TOKEN,
        token_bytes=TOKEN,
        is_compressed=False,
    )
    return replace(plain, **changes)


def compressed(**changes: Any) -> Demand:
    """Return a demand that keeps a fifth."""
    return a_demand(**{"kept_bytes": 20 * TOKEN, "is_compressed": True, **changes})


def limits(**changes: Any) -> Limits:
    """Return limits with room for three requests of 110 tokens."""
    return Limits(**{"kv_bytes": "3300B", **changes})


def a_scheduler(
    source: Source | Sequence[tuple[float, Demand]],
    policy: Policy | str = "prefill_first",
    limit: Limits | None = None,
    costs: Costs = COSTS,
    **more: Any,
) -> Scheduler:
    """Return a scheduler in virtual time."""
    if not hasattr(source, "due"):
        times, demands = zip(*source, strict=True)
        source = OpenSource(times, demands)
    return Scheduler(
        source,
        SimulatedEngine(costs, "none/full", encodes=False),
        make_policy(policy) if isinstance(policy, str) else policy,
        VirtualClock(),
        limit or limits(),
        Monitor(0.1),
        **more,
    )


def prefill_ends(request: Request) -> float:
    """Return when a request had its first token."""
    return request.times_s[0]
