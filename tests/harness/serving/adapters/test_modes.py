"""Several adapters in virtual time: what a mode costs, and when each policy chooses it."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from encodeonce.harness.serving.adapters.costs import FASTEST, AdapterCosts, check_kinds
from encodeonce.harness.serving.adapters.load import AdaptersLoad, adapters_asked
from encodeonce.harness.serving.adapters.metrics import under_adapters
from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode, Terms, merged, mixed
from encodeonce.harness.serving.arrivals import OpenSource, arrival_times_s
from encodeonce.harness.serving.cells import served
from encodeonce.harness.serving.costs import costs_named
from encodeonce.harness.serving.engine import VirtualClock
from encodeonce.harness.serving.loads import PoissonArrivals
from encodeonce.harness.serving.monitor import Monitor
from encodeonce.harness.serving.policy import Action, lora_kind, make_policy, merges, policy_names
from encodeonce.harness.serving.request import Request
from encodeonce.harness.serving.scheduler import Scheduler
from encodeonce.harness.serving.simulated import SimulatedEngine
from tests.harness.serving.scenes import COSTS, a_demand, limits

ADAPTERS = AdapterCosts(
    rank=16,
    switch_s=0.002,
    decode={
        "gather": (0.001, 0.0, 0.001),
        "segment": (0.001, 0.002, 0.0001),
        "grouped": (0.003, 0.0, 0.001),
        "peft": (0.002, 0.004, 0.0),
    },
    prompt=(0.001, 0.0001),
)
UNDER = COSTS.model_copy(update={"adapters": ADAPTERS})
ROOM = limits(kv_bytes="64KiB", max_running=8)


class Noting(SimulatedEngine):
    """Keeps what it was asked to do."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[tuple[str, Mode, list[int | None]]] = []

    def run(self, work: Any, requests: Sequence[Request], mode: Mode = UNMERGED) -> Any:
        self.seen.append((work, mode, [one.demand.adapter for one in requests]))
        return super().run(work, requests, mode)


def serve(
    policy: str,
    adapters: Sequence[int | None],
    gap_s: float = 0.0,
    terms: Terms | None = None,
    costs: AdapterCosts = ADAPTERS,
) -> tuple[Scheduler, list[Request], Noting]:
    demands = [a_demand(sample=f"b/{n}", adapter=one) for n, one in enumerate(adapters)]
    under = UNDER.model_copy(update={"adapters": costs})
    engine = Noting(under, "none/full", encodes=False, lora=lora_kind(policy))
    source = OpenSource([gap_s * n for n in range(len(demands))], demands)
    scheduler = Scheduler(
        source,
        engine,
        make_policy(policy),
        VirtualClock(),
        ROOM,
        Monitor(0.1),
        terms=terms or Terms(switch_s=ADAPTERS.switch_s, patience_s=0.5),
    )
    return scheduler, scheduler.run(), engine


@pytest.mark.parametrize("policy", policy_names())
@pytest.mark.parametrize("allow_mixed", [False, True])
def test_everybody_is_answered_by_what_is_in_the_weights(policy: str, allow_mixed: bool) -> None:
    adapters = [0, 0, 1, 0, 2, 0, 0, 1, None, 0, 3, 0]
    terms = Terms(switch_s=0.002, patience_s=0.05, allow_mixed=allow_mixed)
    scheduler, requests, engine = serve(policy, adapters, 0.03, terms)
    assert [one.num_emitted for one in requests] == [10] * len(adapters)
    for _, mode, under in engine.seen:
        assert mode.kind != "merged" or set(under) == {mode.adapter}
    states = [mode.adapter for work, mode, _ in engine.seen if work != "encode"]
    switches = sum(a != b for a, b in zip([None, *states], states, strict=False))
    assert scheduler.totals.num_switches == switches
    assert merges(policy) or not switches


def test_mixed_costs_less_than_unmerged_only_where_more_than_half_are_on_the_merged_one() -> None:
    """A foreign row takes two products: 2 (1 - p) against 1 a row."""
    for num_own in range(9):
        rows = [0] * num_own + [1 + n for n in range(8 - num_own)]
        unmerged = ADAPTERS.decode_s("gather", UNMERGED, rows)
        assert unmerged == pytest.approx(0.001 + 0.001 * 8)
        is_less = ADAPTERS.decode_s("gather", mixed(0), rows) < unmerged
        assert is_less == (num_own > 4)
    assert ADAPTERS.decode_s("gather", merged(0), [0] * 8) == 0.0


def test_the_fastest_kind_is_none_of_pefts_and_depends_on_the_rows() -> None:
    assert ADAPTERS.step_s(FASTEST, 1, 8) == ADAPTERS.step_s("segment", 1, 8)
    assert ADAPTERS.step_s(FASTEST, 8, 8) == ADAPTERS.step_s("gather", 8, 8)
    assert ADAPTERS.step_s("peft", 8, 8) == pytest.approx(0.034)
    assert ADAPTERS.step_s(FASTEST, 0, 0) == 0.0


def test_a_prompt_costs_nothing_more_under_the_adapter_in_the_weights() -> None:
    assert ADAPTERS.prompt_s(merged(1), 1, 100) == 0.0
    assert ADAPTERS.prompt_s(UNMERGED, None, 100) == 0.0
    assert ADAPTERS.prompt_s(UNMERGED, 1, 100) == pytest.approx(0.011)
    assert ADAPTERS.prompt_s(mixed(2), 1, 100) == pytest.approx(0.022)
    assert ADAPTERS.prompt_s(mixed(2), None, 100) == pytest.approx(0.011)


def test_slora_punica_and_peft_differ_in_their_operators_alone() -> None:
    ends = {}
    for policy in ("slora", "punica", "peft_mixed"):
        scheduler, _, engine = serve(policy, [0, 1, 2, 3])
        assert {mode for _, mode, _ in engine.seen} == {UNMERGED}
        ends[policy] = scheduler.totals.ended_s
    assert ends["slora"] < ends["punica"] < ends["peft_mixed"]


def test_merged_only_empties_one_queue_then_takes_the_longest() -> None:
    _, requests, engine = serve("merged_only", [2, 1, 1, 0, 0, 0])
    order = list(dict.fromkeys(mode.adapter for work, mode, _ in engine.seen if work == "decode"))
    assert order == [0, 1, 2]
    assert requests[5].times_s[-1] < requests[1].times_s[0] < requests[0].times_s[0]


def test_dlora_merges_above_one_threshold_and_goes_back_below_another() -> None:
    few, _, engine = serve("dlora", [0] * 8)
    assert not few.totals.num_switches and engine.seen[-1][1] == UNMERGED
    many, _, engine = serve("dlora", [0] * 9 + [1])  # more than run at once
    kinds = [mode for work, mode, _ in engine.seen if work == "decode"]
    assert kinds[0] == merged(0) and kinds[-1] == UNMERGED
    assert many.totals.num_switches == 2


def test_valora_merges_a_common_adapter_and_only_if_it_pays() -> None:
    adapters = [0, 0, 0, 0, 0, 1]
    common, _, engine = serve("valora", adapters)
    assert engine.seen[0][0] == "encode" and engine.seen[1][1] == merged(0)
    assert common.totals.merged_s > 0.5 * common.totals.ended_s
    dear, _, _ = serve("valora", adapters, terms=Terms(switch_s=1.0, patience_s=99.0))
    assert dear.totals.num_switches == 0


def test_valora_lets_the_starving_join_where_that_is_allowed() -> None:
    adapters = [0, 0, 0, 1]
    scheduler, alone, engine = serve("valora", adapters, terms=Terms(patience_s=0.12))
    assert not any(mode.kind == "mixed" for _, mode, _ in engine.seen)
    terms = Terms(patience_s=0.12, allow_mixed=True)
    scheduler, together, engine = serve("valora", adapters, terms=terms)
    assert ("prefill", mixed(0), [1]) in engine.seen
    assert scheduler.totals.mixed_s > 0
    assert together[-1].times_s[0] < alone[-1].times_s[0]


def test_nobody_starves_under_valora() -> None:
    """One under another adapter is served although requests under the common one keep coming."""
    adapters = [0, 1, *[0] * 150]
    _, requests, engine = serve("valora", adapters, 0.04)
    assert merged(0) in {mode for _, mode, _ in engine.seen}
    assert requests[1].times_s[-1] < 0.3 * max(one.times_s[-1] for one in requests)


def test_valora_is_as_good_as_the_best_on_the_demos_costs() -> None:
    """Average token latency of a load that the demo bears, with 16 adapters and a skew."""
    skew = {"kind": "hot", "s": 0.6}
    under = adapters_asked(AdaptersLoad(number=16, random={"rank": 16}, skew=skew), 0, 150)  # type: ignore[arg-type]
    times = arrival_times_s(PoissonArrivals(kind="poisson", rate=(6.0,), requests=150))
    demo = costs_named("built-in")
    assert demo.adapters is not None
    shape = {
        "num_prefix_tokens": 560,
        "num_prompt_tokens": 580,
        "num_tokens": 32,
        "max_tokens": 32,
        "full_bytes": 580 * demo.token_bytes,
        "kept_bytes": 580 * demo.token_bytes,
        "token_bytes": demo.token_bytes,
    }
    demands = [a_demand(sample=f"b/{n}", adapter=one, **shape) for n, one in enumerate(under)]
    found = {}
    for policy in ("valora", "slora", "punica", "dlora", "merged_only", "peft_mixed"):
        scheduler = Scheduler(
            OpenSource(times, demands),
            SimulatedEngine(demo, "none/full", encodes=False, lora=lora_kind(policy)),
            make_policy(policy),
            VirtualClock(),
            limits(kv_bytes="256MiB"),
            Monitor(1.0),
            terms=Terms(switch_s=demo.adapters.switch_s, patience_s=0.5),
        )
        requests = [served(one) for one in scheduler.run()]
        found[policy] = under_adapters(requests, [580] * len(requests), 20)["token_s"]
    mine = found.pop("valora")
    assert mine < 1.05 * min(found.values())
    assert mine < 0.8 * found["slora"] < found["punica"] < found["peft_mixed"]


def test_an_estimate_of_a_step_is_what_it_takes() -> None:
    engine = SimulatedEngine(UNDER, "none/full", encodes=False)
    rows = [Request(number=n, arrival_s=0, demand=a_demand(adapter=n % 2)) for n in range(4)]
    assert engine.seconds("decode", rows, UNMERGED) == engine.run("decode", rows).seconds
    switched = engine.run("decode", rows[:1], merged(0)).seconds
    assert switched == pytest.approx(
        engine.seconds("decode", rows[:1], merged(0)) + ADAPTERS.switch_s
    )


def test_actions_say_who_can_be_computed() -> None:
    request = Request(number=0, arrival_s=0, demand=a_demand(adapter=1))
    assert Action("decode", [request], merged(1)).may(request)
    assert not Action("prefill", [request], merged(0)).may(request)
    assert Action("encode", [request], merged(0)).may(request)
    assert Action("decode", [request], mixed(0)).may(request)


def load(**fields: Any) -> AdaptersLoad:
    return AdaptersLoad(**{"number": 4, "random": {"rank": 8}, **fields})


def test_skews() -> None:
    hot = adapters_asked(load(skew={"kind": "hot", "s": 0.6}), 0, 4000)
    assert hot.count(0) / 4000 == pytest.approx(0.7, abs=0.03)
    assert hot.count(3) / 4000 == pytest.approx(0.1, abs=0.02)
    assert hot == adapters_asked(load(skew={"kind": "hot", "s": 0.6}), 0, 4000)
    assert hot != adapters_asked(load(skew={"kind": "hot", "s": 0.6}), 1, 4000)
    clustered = adapters_asked(load(skew={"kind": "hot", "s": 0.5, "clustered": True}), 0, 100)
    assert set(clustered[:50]) == {0} and set(clustered[50:]) == {0, 1, 2, 3}
    zipf = adapters_asked(load(skew={"kind": "zipf", "a": 1.0}), 0, 4000)
    assert zipf.count(0) / zipf.count(3) == pytest.approx(4, rel=0.2)
    power = adapters_asked(load(skew={"kind": "power", "a": 1.0}), 0, 4000)
    assert power.count(0) / 4000 == pytest.approx(0.25, abs=0.03)


def test_a_traces_column_says_who_asks_under_which() -> None:
    skew = {"kind": "trace_column", "column": "lora"}
    drawn = adapters_asked(load(skew=skew), 0, 5, ["b", "a", "b", "c", "a"])
    assert drawn == [0, 1, 0, 2, 1], "in order of their first requests"
    folders = load(number=3, random=None, folders=["x/a", "x/b", "x/c"], skew=skew)
    assert adapters_asked(folders, 0, 3, ["b", "a", "b"]) == [1, 0, 1], "by name"
    assert adapters_asked(folders, 0, 3, ["p", "q", "p"]) == [0, 1, 0]
    with pytest.raises(ValueError, match="'b' is one of the adapters, and 'z' is none; they are a"):
        adapters_asked(folders, 0, 2, ["b", "z"])
    with pytest.raises(ValueError, match="'lora' has 5 names.*adapters.number is 4; give as many"):
        adapters_asked(load(skew=skew), 0, 5, list("vwxyz"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"number": 16, "random": None, "folders": ["a/x", "a/y"]}, "16, and 2 folders are given"),
        ({"folders": ["a/x"]}, "either folders or random"),
        ({"skew": {"kind": "hot", "s": 1.0}}, "less than 1"),
        ({"number": 2, "random": None, "folders": ["a/x", "b/x"]}, "two are called 'x'"),
    ],
)
def test_loads_that_mean_nothing(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        load(**fields)


def test_costs_that_say_nothing_about_the_load_are_refused() -> None:
    check_kinds(ADAPTERS, 16, {"a": FASTEST, "b": "peft"})
    with pytest.raises(ValueError, match="holds no costs of adapters"):
        check_kinds(None, 16, {})
    with pytest.raises(ValueError, match="adapters of rank 16 were measured"):
        check_kinds(ADAPTERS, 8, {})
    without = ADAPTERS.model_copy(update={"decode": {"gather": (0.0, 0.0, 0.0)}})
    with pytest.raises(ValueError, match="'b' needs costs of 'peft'.*encodeonce\\[adapters\\]"):
        check_kinds(without, 16, {"b": "peft"})


def test_metrics_by_hand() -> None:
    request = Request(number=0, arrival_s=1.0, demand=a_demand())
    request.times_s = [4.0, 5.0]
    found = under_adapters([served(request)], [98], 0)
    assert found["token_s"] == pytest.approx(4.0 / 100)
    assert found["output_token_s"] == pytest.approx(2.0)
    assert found["first_attainment"] == 1.0
    assert found["satisfaction"] == pytest.approx(1 - 0.25)
