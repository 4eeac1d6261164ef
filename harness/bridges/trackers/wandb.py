"""Weights & Biases. A run of the same id there is gone on with."""

import wandb

from encodeonce.harness.bridges.tracking import Tracked
from encodeonce.harness.run.after.log_spec import WandbSpec


def log(run: Tracked, spec: WandbSpec) -> str:
    """Send figures as metrics and summary, and the report as an artifact."""
    with wandb.init(
        project=spec.project,
        entity=spec.entity,
        group=spec.group,
        tags=list(spec.tags) or None,
        name=run.name,
        id=run.id,
        resume="allow",
        mode=spec.mode,
        dir=str(run.folder),
        config=dict(run.config),
        settings=wandb.Settings(console="off", silent=True),
    ) as there:
        there.log(dict(run.figures), step=run.step)
        if run.files:
            artifact = wandb.Artifact(f"report-{run.id}", type="report")
            for path in run.files:
                artifact.add_file(str(path))
            there.log_artifact(artifact)
        if there.offline:
            return f"offline; type, to send it: wandb sync {there.settings.sync_dir}"
        return str(there.url)
