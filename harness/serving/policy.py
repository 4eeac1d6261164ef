"""The interface of scheduling policies, what they see, and the look-up by name.

The folder `policies/` is the registry: each file there defines one ``POLICY``, a class that is made
anew for every cell. A policy proposes an action; the scheduler cuts it to the limits and to the
memory. `tests/harness/serving/test_policies.py` asks all of them the same things.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from encodeonce.datasets.refusal_words import suggestion
from encodeonce.harness.serving.adapters.costs import FASTEST
from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode, Terms
from encodeonce.harness.serving.loads import Limits
from encodeonce.harness.serving.request import Request

Stage = Literal["encode", "prefill", "compress", "decode"]
PREPARING: tuple[Stage, ...] = ("compress", "prefill", "encode")
"""The stages before the first decode step, the last one first: who is nearly there goes on."""


@dataclass(frozen=True, slots=True)
class Action:
    """Work that a device does at once."""

    stage: Stage
    requests: Sequence[Request]
    """In the order in which they are served; a decode step is over all that run, if nothing is
    merged."""
    mode: Mode = UNMERGED
    """What is in the weights meanwhile; of encoding, nothing."""

    def may(self, request: Request) -> bool:
        """Return whether a request can be computed with what is in the weights."""
        is_own = self.mode.kind != "merged" or request.demand.adapter == self.mode.adapter
        return is_own or self.stage == "encode"


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until something arrives, or until a time."""

    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a policy sees. Queues are in order of arrival; preempted requests come first."""

    now_s: float
    waiting: Sequence[Request]
    """Not encoded yet."""
    encoded: Sequence[Request]
    prefilled: Sequence[Request]
    """To be compressed."""
    running: Sequence[Request]
    limits: Limits
    fits: Callable[[Sequence[Request]], bool]
    """Whether there is room for some more requests, prefilled together."""
    num_others: int = 0
    """Requests that take up memory and are not shown."""
    merged: int | None = None
    """The adapter that is in the weights."""
    terms: Terms = Terms()
    seconds: Callable[[Stage, Sequence[Request], Mode], float] | None = None
    """Estimates what a stage of some requests takes; None where nobody can."""

    @property
    def admitted(self) -> int:
        """Requests that take up memory."""
        return self.num_others + len(self.prefilled) + len(self.running)

    def queue(self, stage: Stage) -> Sequence[Request]:
        """Return who waits for a stage."""
        return {
            "encode": self.waiting,
            "prefill": self.encoded,
            "compress": self.prefilled,
            "decode": self.running,
        }[stage]


class Policy(Protocol):
    """Says what is done next."""

    may_idle: ClassVar[bool] = False
    """Whether a `Wait` is heeded although there is work."""

    def choose(self, view: View) -> Action | Wait:
        """Propose the next action. Something waits, is on its way or runs."""
        ...

    def done(self, action: Action, seconds: float) -> None:
        """Take note of an action that was carried out, and of how long it took."""
        ...


def prepare(view: View) -> Action | None:
    """Return the next stage of requests in the order of their queues; None if none can go on.

    One that is encoded, and has no room yet, keeps those behind it from being prefilled.
    """
    if view.prefilled:
        return Action("compress", view.prefilled)
    if view.encoded and may_admit(view, view.encoded[:1]):
        return Action("prefill", view.encoded)
    if view.waiting and not view.encoded:
        return Action("encode", view.waiting[:1])
    return None


def may_admit(view: View, some: Sequence[Request]) -> bool:
    """Return whether requests may be prefilled: there are places, and room."""
    return view.admitted + len(some) <= view.limits.max_running and view.fits(some)


def decode_or_wait(view: View) -> Action | Wait:
    """Return a decode step; where nothing runs, wait for whatever comes."""
    return Action("decode", view.running) if view.running else Wait(float("inf"))


def policy_names() -> list[str]:
    """Return the policies by file name, from the folder's listing."""
    folder = Path(__file__).parent / "policies"
    return sorted(path.stem for path in folder.glob("*.py"))


def check_policy(name: str) -> str:
    """Return the name of a policy that there is.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in policy_names():
        raise ValueError(
            f"there is no policy {name!r}. Allowed: {', '.join(policy_names())}."
            f"{suggestion(name, policy_names())} A new policy is one file in "
            "harness/serving/policies/"
        )
    return name


def make_policy(name: str) -> Policy:
    """Return a policy without a past."""
    found: Policy = _class_of(name)()
    return found


def lora_kind(name: str) -> str:
    """Return how a policy has rows of different adapters computed."""
    return str(getattr(_class_of(name), "lora", FASTEST))


def is_about_adapters(name: str) -> bool:
    """Return whether a policy says something only where there are adapters."""
    return merges(name) or hasattr(_class_of(name), "lora")


def merges(name: str) -> bool:
    """Return whether a policy may ask for an adapter in the weights."""
    return bool(getattr(_class_of(name), "merges", False))


def _class_of(name: str) -> Any:
    module = importlib.import_module(f"encodeonce.harness.serving.policies.{check_policy(name)}")
    return module.POLICY
