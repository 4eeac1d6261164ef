"""What is in the store for a run, before any model is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, field

from encodeonce.datasets.media import MediaError
from encodeonce.harness.config import RunConfig
from encodeonce.harness.plan import Plan
from encodeonce.harness.workplace import Workplace


@dataclass(slots=True)
class Coverage:
    """Units of a run's media that the store has and lacks."""

    num_media: int = 0
    num_present: int = 0
    num_missing: int = 0
    media_with_gaps: list[str] = field(default_factory=list)
    """Paths of media with missing units."""
    errors: list[tuple[str, MediaError]] = field(default_factory=list)
    """Media that cannot be used at all, with the reason."""

    @property
    def is_complete(self) -> bool:
        """Whether evaluation would find everything that it can find."""
        return self.num_missing == 0


def measure_coverage(
    config: RunConfig, plan: Plan, on_media: Callable[[], None] = lambda: None
) -> Coverage:
    """Look every unit of the run up in the store; loads no weights and decodes nothing.

    Args:
        config: the run.
        plan: its media.
        on_media: called after each media, for progress.
    """
    workplace = Workplace(config)
    store = workplace.open_store()
    coverage = Coverage()
    for planned in plan.media():
        coverage.num_media += 1
        try:
            request = workplace.request(planned.root, planned.ref)
        except MediaError as error:
            coverage.errors.append((planned.ref.path, error))
            continue
        finally:
            on_media()
        num_missing = sum(key not in store for key in request.keys)
        coverage.num_missing += num_missing
        coverage.num_present += len(request.keys) - num_missing
        if num_missing:
            coverage.media_with_gaps.append(planned.ref.path)
    return coverage
