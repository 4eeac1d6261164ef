"""Trackio. A run of the same name is gone on with; files are no part of it."""

import trackio

from encodeonce.harness.bridges.tracking import Tracked
from encodeonce.harness.run.after.log_spec import TrackioSpec


def log(run: Tracked, spec: TrackioSpec) -> str:
    """Send figures as metrics, on a run named for the folder and the run's digest."""
    name = f"{run.name}-{run.id[:8]}"
    trackio.init(
        project=spec.project,
        name=name,
        group=spec.group,
        space_id=spec.space_id,
        config=dict(run.config),
        resume="allow",
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    try:
        trackio.log(dict(run.figures), step=run.step)
    finally:
        trackio.finish()
    where = spec.space_id or f"here; type, to see it: trackio show --project {spec.project}"
    return f"{name}, {where}"
