"""Run files of workloads: what is refused, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from encodeonce.harness.run.config import ConfigError
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.serving.config import ServeConfig

PLAIN: dict[str, Any] = {
    "model": {"path": "demo", "dtype": "float32"},
    "benchmarks": [{"name": "demo"}],
    "time": {"mode": "virtual", "costs": "built-in"},
    "arrivals": {"kind": "poisson", "rate": [2, 1, 2], "requests": 30},
    "limits": {"kv_bytes": ["16MiB", "8MiB"]},
    "slo": {"ttft_s": 1, "tpot_s": 0.05},
    "experiments": [
        {"name": "full"},
        {"name": "fifth", "kv": {"method": "snapkv", "compression_factor": 5}},
    ],
    "output": "out",
}


def load(tmp_path: Path, **changes: Any) -> ServeConfig:
    path = tmp_path / "serve.yaml"
    content = {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_run_file(path, ServeConfig)


def test_lists_make_a_grid_in_order_of_load(tmp_path: Path) -> None:
    from encodeonce.harness.serving.cells import cells_of

    cells = list(cells_of(load(tmp_path)))
    assert [(c.kv_bytes >> 20, c.load, c.experiment.name) for c in cells] == [
        (8, 1.0, "full"),
        (8, 1.0, "fifth"),
        (8, 2.0, "full"),
        (8, 2.0, "fifth"),
        (16, 1.0, "full"),
        (16, 1.0, "fifth"),
        (16, 2.0, "full"),
        (16, 2.0, "fifth"),
    ]


def test_answers_are_asked_for_once_for_each_variant(tmp_path: Path) -> None:
    more = [{"name": "again", "policy": "static"}, {"name": "rtn", "weights": "rtn"}]
    runs = load(tmp_path, experiments=[*PLAIN["experiments"], *more]).answers()
    assert [(r.weights[0].title, [kv.title for kv in r.kv]) for r in runs] == [
        ("none", ["full", "snapkv@0.2"]),
        ("rtn", ["full"]),
    ]
    assert {run.output.name for run in runs} == {"answers"}


ONE = {"name": "one"}
WALL = {"mode": "wall", "costs": "built-in"}
SIXTEEN = {"number": 16, "random": {"rank": 16}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"arrivals": {"kind": "poisson", "rate": 0}}, "arrivals.rate.*must be above 0; got 0"),
    ({"arrivals": {"kind": "poisson", "rate": True}}, "arrivals.rate: must be a number; got true"),
    (
        {"arrivals": {"kind": "poisson", "rate": 1, "requests": 3, "warmup": 3}},
        "warmup: of 3 requests, 3 at warm-up leave none to count",
    ),
    ({"monitor": {"every_s": 0}}, "monitor.every_s: must be at least 0.001; got 0"),
    ({"arrivals": {"kind": "poisson", "rate": []}}, "arrivals.rate.*at least 1"),
    ({"arrivals": {"kind": "gamma", "rate": 1, "cv": 0}}, "arrivals.cv.*must be above 0; got 0"),
    ({"arrivals": {"kind": "gamma", "rate": 1}}, "arrivals.cv: is missing"),
    (
        {"arrivals": {"kind": "bursty", "rate": 1}},
        "arrivals.kind: must be one of closed, constant, gamma, poisson, trace",
    ),
    ({"limits": {"kv_bytes": 8}}, "limits.kv_bytes.*number with a unit, e.g. 8MiB; got 8"),
    ({"limits": {"kv_bytes": "8 apples"}}, "limits.kv_bytes.*needs a number with a unit"),
    ({"limits": {"kv_bytes": "0MiB"}}, "limits.kv_bytes.*must be above 0"),
    ({"limits": None}, "limits: is missing"),
    ({"slo": {"ttft_s": 0, "tpot_s": 1}}, "slo.ttft_s: must be above 0; got 0"),
    ({"slo": {"ttft_s": 1, "tpot_s": 1, "attain": 1.5}}, "slo.attain: must be at most 1"),
    ({"experiments": []}, "experiments: must have at least 1"),
    ({"experiments": [ONE, ONE]}, "experiments: two are named 'one'"),
    ({"experiments": [{"name": "a", "kv": "snapkvv"}]}, "no method 'snapkvv'.*snapkv"),
    ({"experiments": [{"name": "a", "limits": {"kv_bytes": "1MiB"}}]}, "not_comparable"),
    ({"experiments": [{"name": "a", "not_comparable": "so"}]}, "neither limits nor arrivals"),
    ({"experiments": [{"name": "a", "policy": "fcfss"}]}, "no policy 'fcfss'.*'fcfs'"),
    (
        {"policy": "sjf"},
        "policy: there is no policy 'sjf'. Allowed: decode_first, dlora, fastcache",
    ),
    ({"output_tokens": {"kind": "trace"}}, "arrivals.kind must be 'trace' as well; got 'poisson'"),
    ({"output_tokens": {"kind": "forced", "tokens": 0}}, "output_tokens.tokens.*at least 1"),
    ({"time": {"mode": "wall"}, "preempt": "swap"}, "'swap' exists in virtual time only"),
    ({"time": {"mode": "virtual"}}, "time.costs: is missing"),
    (
        {
            "fidelity": True,
            "experiments": [{"name": "a", "kv": {"method": "full", "precision": "int4"}}],
        },
        "fidelity is measured against the full cache",
    ),
    ({"benchmarks": [{"name": "demo", "scoring": "nll"}]}, "use scoring: generate"),
    ({"policy": "slora"}, "policy 'slora' is about adapters: add the section 'adapters'"),
    ({"adapters": {**SIXTEEN, "skew": {"kind": "hot", "s": 1.5}}}, "skew.s: must be below 1"),
    ({"adapters": {"number": 16, "folders": ["a", "b"]}}, "number is 16, and 2 folders are given"),
    ({"adapters": SIXTEEN, "time": {"mode": "wall"}}, "time.costs: policies of several adapters"),
    (
        {"adapters": SIXTEEN, "time": WALL, "policy": "peft_mixed"},
        "'fifth': by the clock, policy 'peft_mixed' runs peft itself.*'none' and 'snapkv@0.2'",
    ),
    (
        {
            "adapters": SIXTEEN,
            "time": WALL,
            "experiments": [{"name": "a", "policy": "peft_mixed", "weights": "rtn"}],
        },
        "under plain weights and the full cache; got 'rtn' and 'full'",
    ),
    (
        {"adapters": {**SIXTEEN, "skew": {"kind": "trace_column", "column": "lora"}}},
        "'trace_column', so arrivals.kind must be 'trace' as well; got 'poisson'",
    ),
    ({"adapters": {**SIXTEEN, "skew": {"kind": "trace_column"}}}, "skew.column: is missing"),
    (
        {"adapters": SIXTEEN, "time": WALL, "engine": {"kind": "ray", "replicas": 2}},
        "adapters are served by engine.kind 'own'; got 'ray'",
    ),
    ({"adapters": SIXTEEN, "fidelity": True}, "fidelity is measured without adapters"),
    (
        {"adapters": SIXTEEN, "experiments": [{"name": "a", "weights": "rtn", "policy": "valora"}]},
        "policy 'valora' merges adapters into weights.*quantised again",
    ),
    (
        {
            "adapters": {**SIXTEEN, "allow_mixed": True},
            "experiments": [{"name": "a", "weights": "rtn", "policy": "slora"}],
        },
        "allow_mixed merges adapters into weights",
    ),
    ({"arrival": {}}, "arrival: unknown key.*Did you mean 'arrivals'"),
    ({"kv": "full"}, "kv: unknown key"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_be_served_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, **changes)


def test_real_adapters_are_answered_under_each(tmp_path: Path) -> None:
    config = load(tmp_path, adapters={"number": 2, "folders": ["a/counting", "a/order"]})
    runs = config.answers()
    assert [[one and one.title for one in run.adapters] for run in runs] == [["counting", "order"]]
    names = [one.name for one in config.variants_of(config.experiments[1])]
    assert names == ["none+counting/snapkv@0.2", "none+order/snapkv@0.2"]
    random = load(tmp_path, adapters=SIXTEEN)
    assert random.answers()[0].adapters == (None,)
    assert {one.name for one in random.variants_of(random.experiments[0])} == {"none/full"}
