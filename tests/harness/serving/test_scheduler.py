"""What holds under any load: bytes stay under the cap and come back, and everybody is answered."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encodeonce.harness.serving.arrivals import ClosedSource, arrival_times_s, choices
from encodeonce.harness.serving.cells import served
from encodeonce.harness.serving.config import SLO
from encodeonce.harness.serving.ledger import Ledger
from encodeonce.harness.serving.loads import PoissonArrivals
from encodeonce.harness.serving.policy import policy_names
from encodeonce.harness.serving.request import Demand, Request, State
from tests.harness.serving.scenes import PROTOTYPE, TOKEN, a_demand, a_scheduler, compressed, limits

CAP = 4000


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    num_prefix = draw(st.integers(10, 150))
    num_prompt = num_prefix + draw(st.integers(1, 20))
    num_tokens = draw(st.integers(1, 30))
    is_compressed = draw(st.booleans())
    full_bytes = num_prompt * TOKEN
    return Demand(
        sample="b/s",
        media=draw(st.sampled_from(["m", "n", "o"])) + str(num_prefix),
        num_units=draw(st.integers(1, 9)),
        num_prefix_tokens=num_prefix,
        num_prompt_tokens=num_prompt,
        num_tokens=num_tokens,
        max_tokens=num_tokens + draw(st.integers(0, 10)),
        full_bytes=full_bytes,
        kept_bytes=draw(st.integers(1, full_bytes)) if is_compressed else full_bytes,
        token_bytes=TOKEN,
        is_compressed=is_compressed,
        reads_late=is_compressed and draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    load=st.lists(st.tuples(st.floats(0, 2), demands()), min_size=1, max_size=12),
    policy=st.sampled_from(policy_names()),
    preempt=st.sampled_from(["none", "recompute", "swap"]),
    shares=st.booleans(),
    most=st.integers(1, 6),
    prompts=st.integers(1, 3),
)
def test_the_cap_holds_and_everybody_is_answered_once(
    load: Sequence[tuple[float, Demand]],
    policy: str,
    preempt: str,
    shares: bool,
    most: int,
    prompts: int,
) -> None:
    load = sorted(load, key=lambda one: one[0])
    limit = limits(kv_bytes=f"{CAP}B", max_running=most, prefill_requests=prompts)
    scheduler = a_scheduler(load, policy, limit, preempt=preempt, shares_prefixes=shares)
    reserved = []
    scheduler._monitor.note = lambda *state: reserved.append(state[1:])  # type: ignore[method-assign]
    requests = scheduler.run()
    assert scheduler.totals.peak_reserved_bytes <= CAP
    assert all(bytes_ <= CAP and running <= most for running, _, bytes_ in reserved)
    assert [one.number for one in requests] == list(range(len(load)))
    assert all(one.state is State.DONE for one in requests)
    assert [one.num_emitted for one in requests] == [demand.num_tokens for _, demand in load]
    assert all(one.arrival_s <= one.times_s[0] for one in requests)
    resident = sum(scheduler._ledger._prefix_bytes.values())
    assert scheduler._ledger.reserved == resident
    assert resident == 0 or shares
    assert scheduler.totals.num_rows == sum(one.num_emitted - 1 for one in requests)


def test_compression_lets_more_run_at_once() -> None:
    def most_at_once(demand: Demand) -> int:
        scheduler = a_scheduler([(0.0, demand)] * 12)
        running = []
        scheduler._monitor.note = lambda *state: running.append(state[1])  # type: ignore[method-assign]
        scheduler.run()
        return max(running)

    assert most_at_once(a_demand()) == 3
    assert most_at_once(compressed()) >= 6


def test_the_first_token_of_late_readers_comes_with_their_compression() -> None:
    early, late = compressed(), compressed(reads_late=True)
    (one,) = a_scheduler([(0.0, early)]).run()
    assert one.times_s[0] == pytest.approx(one.stage_s["encode"] + one.stage_s["prefill"])
    (other,) = a_scheduler([(0.0, late)]).run()
    before = sum(other.stage_s[stage] for stage in ("encode", "prefill", "compress"))
    assert other.times_s[0] == pytest.approx(before)


def test_an_answer_of_one_token_is_never_compressed() -> None:
    (one,) = a_scheduler([(0.0, compressed(num_tokens=1))]).run()
    assert "compress" not in one.stage_s
    assert one.num_emitted == 1


def test_a_shared_prefix_is_prefilled_once_and_counts_once() -> None:
    queue = [(0.0, a_demand()), (1.0, a_demand()), (1.0, a_demand(media="other"))]
    scheduler = a_scheduler(queue, shares_prefixes=True)
    first, second, third = scheduler.run()
    assert (scheduler.totals.num_hits, scheduler.totals.num_misses) == (1, 2)
    assert second.stage_s["prefill"] < first.stage_s["prefill"]
    assert third.stage_s["prefill"] == pytest.approx(first.stage_s["prefill"])
    own = (20 + 10) * TOKEN
    assert scheduler.totals.peak_reserved_bytes == 2 * 80 * TOKEN + 2 * own


def test_prefixes_that_nobody_needs_give_way() -> None:
    queue = [(float(n), a_demand(media=f"m{n}")) for n in range(9)]
    scheduler = a_scheduler(queue, shares_prefixes=True)
    scheduler.run()
    assert scheduler.totals.peak_reserved_bytes <= 3300
    assert scheduler._ledger.is_resident("m8")
    assert not scheduler._ledger.is_resident("m0")


@pytest.mark.parametrize("preempt", ["recompute", "swap"])
def test_the_youngest_gives_way_and_goes_on_where_it_was(preempt: str) -> None:
    demand = a_demand(num_tokens=60, max_tokens=60)
    scheduler = a_scheduler([(0.0, demand)] * 3, preempt=preempt)
    first, second, third = scheduler.run()
    assert (first.num_preempted, third.num_preempted > 0) == (0, True)
    assert [one.num_emitted for one in (first, second, third)] == [60, 60, 60]
    # What is read again takes longer than what was read at first.
    again = third.stage_s["prefill"] > 1.5 * first.stage_s["prefill"]
    assert again == (preempt == "recompute")
    assert ("swap_out" in third.stage_s) == (preempt == "swap")


def test_recomputing_admits_what_reserving_the_longest_answer_does_not() -> None:
    demand = a_demand(num_tokens=2, max_tokens=100)
    together = [(0.0, demand)] * 3
    reserved = a_scheduler(together, preempt="none").run()
    ahead = a_scheduler(together, preempt="recompute").run()
    assert max(one.times_s[-1] for one in ahead) < max(one.times_s[-1] for one in reserved)


def test_users_ask_again_when_they_are_answered() -> None:
    source = ClosedSource([a_demand()] * 6, concurrency=2, think_s=0.5)
    requests = a_scheduler(source).run()
    ends = sorted(one.ended_s or 0.0 for one in requests)
    assert [one.arrival_s for one in requests[:2]] == [0.0, 0.0]
    assert [one.arrival_s for one in requests[2:]] == pytest.approx([at + 0.5 for at in ends[:4]])


def test_queues_and_stages_add_up_to_the_time_to_the_last_token() -> None:
    requests = a_scheduler([(0.0, compressed()) for _ in range(7)]).run()
    for one in requests:
        spent = sum(one.queue_s.values()) + sum(one.stage_s.values())
        assert spent == pytest.approx(one.times_s[-1] - one.arrival_s)


def test_a_prefill_is_cut_to_the_tokens_that_an_action_may_have() -> None:
    limit = limits(kv_bytes="64KiB", prefill_requests=4, prefill_tokens=250)
    requests = a_scheduler([(0.0, a_demand()) for _ in range(4)], "prefill_first", limit).run()
    # One at a time is encoded, so prompts are together only where several wait at once.
    assert all(one.stage_s["prefill"] <= 2 * 0.03 + 1e-9 for one in requests)


def test_the_ledger_says_what_one_request_needs_at_least() -> None:
    plain = Ledger(CAP, "none", shares_prefixes=False)
    assert plain.least(a_demand()) == 110 * TOKEN
    assert plain.least(compressed()) == 100 * TOKEN
    assert plain.least(compressed(max_tokens=200)) == 220 * TOKEN
    sharing = Ledger(CAP, "none", shares_prefixes=True)
    assert sharing.least(a_demand()) == 110 * TOKEN
    assert sharing.least(compressed()) == 80 * TOKEN + max(20, 30) * TOKEN


def test_what_is_reserved_returns_to_nothing() -> None:
    ledger = Ledger(CAP, "none", shares_prefixes=False)
    one = Request(number=0, arrival_s=0.0, demand=compressed())
    ledger.admit(one)
    assert ledger.reserved == 100 * TOKEN
    ledger.shrink(one)
    assert ledger.reserved == 30 * TOKEN
    ledger.release(one)
    assert (ledger.reserved, ledger.peak) == (0, 100 * TOKEN)


@pytest.mark.parametrize(("mib", "full_fails_at", "fifth_bears"), [(8, 4.0, 8.5), (16, 6.5, 11.5)])
def test_a_fifth_of_the_cache_bears_several_times_the_load(
    mib: int, full_fails_at: float, fifth_bears: float
) -> None:
    """With costs at which decode steps are long: under 8 and 16 MiB, 2.1 and 1.7 times at least."""

    def attainment(rate: float, keep: float) -> float:
        arrivals = PoissonArrivals(kind="poisson", rate=(rate,), requests=300)
        token = round(2.2 * 2**20 / 565)
        demands = []
        for number in choices(0, 300, 300):
            length = (300, 565, 800)[number % 3]
            demands.append(
                a_demand(
                    num_prompt_tokens=length,
                    num_prefix_tokens=length - 30,
                    num_tokens=64,
                    max_tokens=64,
                    token_bytes=token,
                    full_bytes=length * token,
                    kept_bytes=round(keep * length * token),
                    is_compressed=keep < 1,
                )
            )
        scheduler = a_scheduler(
            list(zip(arrival_times_s(arrivals), demands, strict=True)),
            limit=limits(kv_bytes=f"{mib}MiB"),
            costs=PROTOTYPE,
        )
        slo = SLO(ttft_s=1.0, tpot_s=0.05)
        return sum(served(one).meets(slo) for one in scheduler.run()) / 300

    assert attainment(full_fails_at, 1.0) < 0.95 <= attainment(fifth_bears, 0.2)
