"""Metrics of a run, and the dashboard that shows them."""

import json
import re
from pathlib import Path

import pytest
import ray

import encodeonce.jobs.execution.metrics as metrics_module
from encodeonce.harness.run.record import CacheUse
from encodeonce.jobs.execution.metrics import COUNTERS, WORKERS, RayMetrics

DASHBOARD = Path(__file__).parents[3] / "jobs" / "templates" / "grafana-dashboard.json"


class Noted:
    """Stands for Ray's counter and gauge: notes what they are told."""

    notes: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def __init__(self, name: str, meaning: str, keys: tuple[str, ...] = ()) -> None:
        self.name, self.keys = name, keys

    def inc(self, amount: float, labels: dict[str, str]) -> None:
        assert set(labels) == set(self.keys)
        assert amount > 0, "Ray refuses others"
        key = self.name, tuple(sorted(labels.items()))
        self.notes[key] = self.notes.get(key, 0) + amount

    def set(self, amount: float) -> None:
        self.notes[self.name, ()] = amount


def test_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noted, "notes", {})
    monkeypatch.setattr("ray.util.metrics.Counter", Noted)
    monkeypatch.setattr("ray.util.metrics.Gauge", Noted)
    metrics = RayMetrics()
    use = CacheUse(num_units=8, num_hits=6, bytes_read=100)
    metrics.count("evaluate", cache=use, seconds={"read": 0.5, "prefill": 2.0})
    metrics.count("evaluate", cache=CacheUse(), seconds={"read": 0.25}, error="UndecodableMedia")
    metrics.workers(3)
    found = {
        (name, *(value for _, value in labels)): n for (name, labels), n in Noted.notes.items()
    }
    assert found == {
        ("encodeonce_items_total", "evaluate"): 2,
        ("encodeonce_errors_total", "evaluate", "UndecodableMedia"): 1,
        ("encodeonce_units_total", "hit", "evaluate"): 6,
        ("encodeonce_units_total", "miss", "evaluate"): 2,
        ("encodeonce_bytes_total", "read", "evaluate"): 100,
        ("encodeonce_seconds_total", "read", "evaluate"): 0.75,
        ("encodeonce_seconds_total", "prefill", "evaluate"): 2.0,
        ("encodeonce_workers_alive",): 3,
    }


def test_ray_takes_them(ray_cluster: None) -> None:
    assert ray.is_initialized()
    metrics = RayMetrics()
    use = CacheUse(num_units=2, num_hits=1, bytes_read=1, bytes_written=1)
    metrics.count("evaluate", cache=use, seconds={"read": 0.5}, error="LookupError")
    metrics.workers(1)
    assert set(metrics._made) == {*COUNTERS, WORKERS}


def test_the_dashboard_shows_each_metric_and_no_other() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    shown = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            names = re.findall(r"ray_(encodeonce_\w+)", target["expr"])
            shown.update(names)
            for labels in re.findall(r"by \(([^)]*)\)", target["expr"]):
                known = COUNTERS[names[0]][1]
                assert set(labels.split(", ")) <= set(known), panel["title"]
    assert shown == {*COUNTERS, WORKERS}
    assert metrics_module.WORKERS in shown
