"""Looks a run's media up in the store, before any model is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, field

from encodeonce.cache_store.coverage import coverage
from encodeonce.datasets.media.media import MediaError
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Plan
from encodeonce.harness.workers.session import Session


@dataclass(slots=True)
class RunCoverage:
    """Counts of a run's units that the store has, lacks or holds damaged."""

    num_media: int = 0
    num_present: int = 0
    num_missing: int = 0
    num_damaged: int = 0
    media_with_gaps: list[str] = field(default_factory=list)
    """Paths of media with missing or damaged units."""
    errors: list[tuple[str, MediaError]] = field(default_factory=list)
    """Media that cannot be used, with the reason."""

    @property
    def is_complete(self) -> bool:
        """Whether evaluation would find the features of all usable media."""
        return not self.media_with_gaps


def measure_coverage(
    config: RunConfig, plan: Plan, on_media: Callable[[], None] = lambda: None
) -> RunCoverage:
    """Look every unit of the run up in the store; loads no weights and decodes nothing.

    Args:
        config: the run.
        plan: its media.
        on_media: called after each media item, for progress.
    """
    found = RunCoverage()
    with Session(config) as session:
        for planned in plan.media():
            found.num_media += 1
            try:
                # Untimed: timing synchronises the GPU, which must not be initialised here.
                request = session.media.request(planned.root, planned.ref, planned.benchmark)
            except MediaError as error:
                found.errors.append((planned.ref.path, error))
                continue
            finally:
                on_media()
            units = coverage(session.store, request.keys)
            found.num_present += len(units.present)
            found.num_missing += len(units.missing)
            found.num_damaged += len(units.damaged)
            if units.to_encode:
                found.media_with_gaps.append(planned.ref.path)
    return found
