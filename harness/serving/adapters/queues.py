"""What policies of several adapters look at: requests by adapter, and a view of some of them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from encodeonce.harness.serving.adapters.modes import Mode
from encodeonce.harness.serving.policy import Action, View, Wait, decode_or_wait, prepare
from encodeonce.harness.serving.request import Request


def everybody(view: View) -> Sequence[Request]:
    """Return all requests that have not ended, the nearest to its end first."""
    return (*view.running, *view.prefilled, *view.encoded, *view.waiting)


def commonest(requests: Sequence[Request]) -> tuple[int | None, int]:
    """Return the adapter that most requests are under, and how many; the lowest of equals.

    None where requests are under no adapter.
    """
    counts = Counter(
        one.demand.adapter for one in requests if one.demand.adapter is not None
    ).items()
    return min(counts, key=lambda one: (-one[1], one[0]), default=(None, 0))


def only(view: View, wanted: Callable[[Request], bool]) -> View:
    """Return a view of some requests. Places and memory stay those of all."""
    return replace(
        view,
        waiting=tuple(filter(wanted, view.waiting)),
        encoded=tuple(filter(wanted, view.encoded)),
        prefilled=tuple(filter(wanted, view.prefilled)),
        running=tuple(filter(wanted, view.running)),
        num_others=view.num_others + view.admitted - _admitted(view, wanted),
    )


def serve(view: View, mode: Mode) -> Action | Wait:
    """Prepare before decoding, in a mode."""
    found = prepare(view) or decode_or_wait(view)
    return replace(found, mode=mode) if isinstance(found, Action) else found


def _admitted(view: View, wanted: Callable[[Request], bool]) -> int:
    return sum(map(wanted, (*view.prefilled, *view.running)))
