"""MLflow, by its client: nothing of the process's own MLflow settings is changed."""

import re
import time

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from encodeonce.harness.bridges.tracking import Tracked
from encodeonce.harness.run.after.log_spec import MlflowSpec

TAG = "encodeonce.run"
"""Holds `Tracked.id`, by which a run is found again."""

_NOT_ALLOWED = re.compile(r"[^\w\-. :/]")
MOST_AT_ONCE = 500
"""Metrics of one request; MLflow's limit is 1,000."""


def log(run: Tracked, spec: MlflowSpec) -> str:
    """Send figures as metrics, the model and benchmarks as parameters, and the report's files."""
    client = MlflowClient(tracking_uri=spec.tracking_uri)
    experiment = client.get_experiment_by_name(spec.experiment)
    number = (
        client.create_experiment(spec.experiment)
        if experiment is None
        else experiment.experiment_id
    )
    found = client.search_runs([number], f"tags.`{TAG}` = '{run.id}'", max_results=1)
    there = (
        found[0] if found else client.create_run(number, tags={TAG: run.id}, run_name=run.name)
    ).info.run_id
    now_ms = int(time.time() * 1000)
    metrics = [
        Metric(_NOT_ALLOWED.sub("_", name), value, now_ms, run.step)
        for name, value in run.figures.items()
    ]
    for start in range(0, len(metrics), MOST_AT_ONCE):
        client.log_batch(there, metrics=metrics[start : start + MOST_AT_ONCE])
    benchmarks = ", ".join(one["label"] or one["name"] for one in run.config["benchmarks"])
    params = [Param("model", run.config["model"]["path"]), Param("benchmarks", benchmarks)]
    client.log_batch(there, params=params, tags=[RunTag("mlflow.runName", run.name)])
    client.log_dict(there, dict(run.config), "config.json")
    for path in run.files:
        client.log_artifact(there, str(path))
    client.set_terminated(there)
    return f"run {there} of experiment {spec.experiment}"
