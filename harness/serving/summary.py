"""The results of a grid as plain JSON values: what reports are made of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from encodeonce.harness.serving.adapters.metrics import under_adapters
from encodeonce.harness.serving.answered import Answered
from encodeonce.harness.serving.config import Experiment, ServeConfig
from encodeonce.harness.serving.grid import ServedCell
from encodeonce.harness.serving.loads import axis_of
from encodeonce.harness.serving.metrics import summarize
from encodeonce.harness.serving.monitor import Sample
from encodeonce.models.kv.spec import FULL

Summary = dict[str, Any]

NUM_MOMENTS = 80
"""Points of a curve over time."""


def baseline_of(config: ServeConfig) -> Experiment:
    """Return whose answers others are compared with: the first full cache, else the first."""
    full = [one for one in config.experiments if one.kv == FULL]
    return full[0] if full else config.experiments[0]


def summarize_grid(
    config: ServeConfig,
    known: Answered,
    cells: Iterable[ServedCell],
    *,
    beside: Iterable[ServedCell] | None = None,
    warnings: Sequence[str] = (),
) -> Summary:
    """Return the results of a run file.

    Args:
        config: the run file.
        known: the samples' answers.
        cells: all of them, served.
        beside: the same cells in virtual time, where a clock ran.
        warnings: sentences that belong into every report.
    """
    baseline = baseline_of(config).variant
    results = [_cell(config, known, one) for one in cells]
    experiments = [_experiment(config, known, one) for one in config.experiments]
    return {
        "model": config.model.path.rstrip("/").rpartition("/")[2],
        "time": config.time.mode,
        "engine": config.engine.kind,
        "features": config.features,
        "output_tokens": config.output_tokens.model_dump(mode="json"),
        "arrivals": config.arrivals.model_dump(mode="json", exclude={"file"}),
        "axis": axis_of(config.arrivals),
        "limits": config.limits.model_dump(mode="json"),
        "slo": config.slo.model_dump(mode="json"),
        "adapters": _adapters(config),
        "baseline": baseline.name,
        "num_samples": len(known.asked),
        "left_out": dict(known.left_out),
        "warnings": list(warnings),
        "experiments": experiments,
        "cells": results,
        "beside": None if beside is None else [_cell(config, known, one) for one in beside],
        "best": [_best(config, one, results) for one in _pairs(config, results)],
    }


def _experiment(config: ServeConfig, known: Answered, experiment: Experiment) -> Summary:
    variants = dict.fromkeys(config.variants_of(experiment))
    quality = known.quality(
        list(variants), list(dict.fromkeys(config.variants_of(baseline_of(config))))
    )
    if config.adapters is not None and config.adapters.random is not None:
        quality |= {"accuracy": None, "difference": None, "fidelity": None}
    return {
        "name": experiment.name,
        "variant": experiment.variant.name,
        "policy": config.policy_of(experiment),
        "preempt": config.preempt_of(experiment),
        "share_prefixes": config.shares_prefixes(experiment),
        "not_comparable": experiment.not_comparable,
        "quality": quality,
        "accuracy_by_adapter": {
            one.adapter: known.quality([one], [one])["accuracy"]
            for one in variants
            if one.adapter is not None
        },
    }


def _adapters(config: ServeConfig) -> Summary | None:
    if config.adapters is None:
        return None
    titles = list(config.adapters.titles)
    return {**config.adapters.model_dump(mode="json", exclude={"folders"}), "titles": titles}


def _cell(config: ServeConfig, known: Answered, one: ServedCell) -> Summary:
    cell, outcome = one.cell, one.outcome
    totals = outcome.totals
    return {
        "experiment": cell.experiment.name,
        "kv_bytes": cell.kv_bytes,
        "load": cell.load,
        **summarize(outcome.requests, config.slo, cell.arrivals.warmup),
        **totals,
        "mean_rows": totals["num_rows"] / totals["num_steps"] if totals["num_steps"] else 0.0,
        "num_short": one.workload.num_short,
        "num_fewer_media": one.workload.num_fewer_media,
        "same_tokens": _same_tokens(config, known, one),
        "over_time": _thinned(outcome.samples),
        "adapters": None if config.adapters is None else _under_adapters(one),
    }


def _under_adapters(one: ServedCell) -> Summary:
    prompts = [demand.num_prompt_tokens for demand in one.workload.demands]
    return under_adapters(one.outcome.requests, prompts, one.cell.arrivals.warmup)


def _same_tokens(config: ServeConfig, known: Answered, one: ServedCell) -> dict[str, int] | None:
    """Count the answers whose tokens are those of the offline engine, as far as both go.

    Under random adapters nothing was answered offline.
    """
    if config.adapters is not None and config.adapters.random is not None:
        return None
    variants = config.variants_of(one.cell.experiment)
    pairs = [
        (known.record(asked, variants[demand.adapter or 0]).token_ids, request.token_ids)
        for asked, demand, request in zip(
            one.workload.asked, one.workload.demands, one.outcome.requests, strict=True
        )
        if request.token_ids
    ]
    if not pairs:
        return None
    lengths = [min(len(first), len(second)) for first, second in pairs]
    same = [
        tuple(first[:length]) == tuple(second[:length])
        for (first, second), length in zip(pairs, lengths, strict=True)
    ]
    return {"num_compared": len(pairs), "num_same": sum(same)}


def _pairs(config: ServeConfig, cells: Sequence[Summary]) -> list[tuple[str, int]]:
    """Return every experiment under every cap of its own, in the run file's order."""
    return [
        (experiment.name, cap)
        for cap in sorted({cell["kv_bytes"] for cell in cells})
        for experiment in config.experiments
        if any((cell["experiment"], cell["kv_bytes"]) == (experiment.name, cap) for cell in cells)
    ]


def _best(config: ServeConfig, pair: tuple[str, int], cells: Sequence[Summary]) -> Summary:
    """Return the highest load that an experiment bears: it and all lighter ones attain."""
    name, cap = pair
    mine = [cell for cell in cells if (cell["experiment"], cell["kv_bytes"]) == pair]
    best: Mapping[str, Any] | None = None
    for cell in sorted(mine, key=lambda one: float(one["load"])):
        if cell["attainment"] < config.slo.attain:
            break
        best = cell
    return {
        "experiment": name,
        "kv_bytes": cap,
        "load": best["load"] if best else None,
        "is_highest_tried": best is not None and best["load"] == max(c["load"] for c in mine),
        "goodput": best["goodput"] if best else None,
        "most_goodput": max(cell["goodput"] for cell in mine),
    }


def _thinned(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Return the state over time at some moments."""
    every = max(1, -(-len(samples) // NUM_MOMENTS))
    some = samples[::every]
    return {
        "time_s": [one.time_s for one in some],
        "running": [one.running for one in some],
        "waiting": [one.waiting for one in some],
        "reserved_kv_bytes": [one.reserved_kv_bytes for one in some],
    }
