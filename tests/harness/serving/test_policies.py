"""Every policy on queues made by hand: who is served when, and what nobody may do."""

import pytest

from encodeonce.harness.serving.arrivals import arrival_times_s
from encodeonce.harness.serving.loads import PoissonArrivals
from encodeonce.harness.serving.policies.fastcache import FastCache, priority
from encodeonce.harness.serving.policy import Action, Wait, check_policy, make_policy, policy_names
from encodeonce.harness.serving.request import Request
from tests.harness.serving.scenes import a_demand, a_scheduler, compressed, limits

TOGETHER = [(0.0, a_demand(sample=f"b/{n}")) for n in range(5)]


def firsts(requests: list[Request]) -> list[int]:
    """Return the requests' numbers, in the order of their first tokens."""
    return [one.number for one in sorted(requests, key=lambda one: one.times_s[0])]


@pytest.mark.parametrize("name", policy_names())
def test_every_request_is_answered_once_and_whole(name: str) -> None:
    scheduler = a_scheduler([(0.1 * n, compressed(num_tokens=n + 1)) for n in range(9)], name)
    requests = scheduler.run()
    assert [one.number for one in requests] == list(range(9))
    assert [one.num_emitted for one in requests] == list(range(1, 10))
    assert all(one.times_s == sorted(one.times_s) for one in requests)


@pytest.mark.parametrize("name", ["fcfs", "prefill_first", "decode_first", "static", "fastcache"])
def test_of_equals_the_oldest_is_served_first(name: str) -> None:
    assert firsts(a_scheduler(TOGETHER, name, limits(kv_bytes="8KiB")).run()) == [0, 1, 2, 3, 4]


def test_prefill_first_prepares_all_that_fit_before_it_decodes() -> None:
    first, second, third, fourth, _ = a_scheduler(TOGETHER, "prefill_first").run()
    assert max(first.times_s[0], second.times_s[0], third.times_s[0]) < first.times_s[1]
    # There is room for three.
    assert fourth.times_s[0] > first.times_s[-1]


def test_decode_first_decodes_between_two_prefills() -> None:
    first, second, third, *_ = a_scheduler(TOGETHER, "decode_first").run()
    assert first.times_s[0] < first.times_s[1] < second.times_s[0]
    assert any(second.times_s[0] < at_s < third.times_s[0] for at_s in first.times_s)
    gaps = [b - a for a, b in zip(first.times_s, first.times_s[1:], strict=False)]
    prompt_s = first.stage_s["prefill"]
    assert max(gaps) < 2 * prompt_s


def test_static_admits_nobody_while_a_batch_is_drained() -> None:
    late = (0.05, a_demand(sample="b/late", num_tokens=2))
    first, second = a_scheduler([(0.0, a_demand()), late], "static").run()
    assert second.times_s[0] > first.times_s[-1]
    first, second = a_scheduler([(0.0, a_demand()), late], "prefill_first").run()
    assert second.times_s[0] < first.times_s[-1]


def test_fcfs_lets_a_request_that_does_not_fit_keep_later_ones_waiting() -> None:
    big = a_demand(full_bytes=3000, kept_bytes=3000)
    small = a_demand(full_bytes=100, kept_bytes=100)
    queue = [(0.0, a_demand()), (0.001, big), (0.002, small)]
    assert firsts(a_scheduler(queue, "fcfs").run()) == [0, 1, 2]


def test_fastcaches_priority_is_as_published() -> None:
    request = Request(number=0, arrival_s=1.0, demand=a_demand(num_prompt_tokens=512))
    assert priority(request, 1.0) == pytest.approx(100 * (1 - 0.25))
    assert priority(request, 3.0) == pytest.approx(100 * 0.4 * 1.75)
    assert priority(request, 99.0) == 100.0
    long = Request(number=0, arrival_s=0.0, demand=a_demand(num_prompt_tokens=5000))
    assert priority(long, 1.0) == 0.0


def test_fastcache_serves_a_short_prompt_before_a_long_one_of_the_same_age() -> None:
    long = a_demand(num_prompt_tokens=2000, num_prefix_tokens=1980)
    queue = [(0.0, a_demand()), (0.001, long), (0.002, a_demand(num_prompt_tokens=90))]
    assert firsts(a_scheduler(queue, "fastcache", limits(kv_bytes="64KiB")).run()) == [0, 2, 1]


def test_nobody_starves_under_fastcache() -> None:
    """A long prompt among ever new short ones is served within the time it is most urgent."""
    long = a_demand(num_prompt_tokens=2000, num_prefix_tokens=1980)
    queue = [(0.0, a_demand()), (0.001, long)]
    queue += [(0.02 + 0.05 * n, a_demand(num_tokens=3)) for n in range(400)]
    requests = a_scheduler(queue, "fastcache", limits(kv_bytes="64KiB")).run()
    assert requests[1].times_s[0] < 6.0


def test_fastcaches_batch_follows_the_throughput() -> None:
    policy = FastCache()
    policy._most = 8
    prompt = Action("prefill", [Request(number=0, arrival_s=0, demand=a_demand())])
    policy.done(prompt, 1.0)
    assert policy.batch == 1
    policy.done(prompt, 0.2)  # five times as fast: e = 4, 0.5 e + 0.2 e + 0.1 e = 3.2
    assert policy.batch == 4
    for _ in range(9):
        policy.done(prompt, 10.0)
    assert policy.batch == 1


def test_the_published_scheduler_lets_everybody_wait_for_a_full_batch() -> None:
    queue = [(0.0, a_demand(num_tokens=40)), (5.1, a_demand())]
    first, second = a_scheduler(queue, "fastcache_published", limits(kv_bytes="8KiB")).run()
    assert first.times_s[0] > 5.0
    # The first one stands still meanwhile, though nothing hinders it.
    assert second.times_s[0] > 10.0
    assert max(b - a for a, b in zip(first.times_s, first.times_s[1:], strict=False)) > 4.0


def test_the_published_scheduler_serves_the_least_urgent_first() -> None:
    queue = [(0.1 * n, a_demand(num_tokens=1)) for n in range(16)]
    order = firsts(a_scheduler(queue, "fastcache_published", limits(kv_bytes="64KiB")).run())
    assert order[0] > 10


def test_the_repaired_scheduler_has_the_shorter_tail() -> None:
    times = arrival_times_s(PoissonArrivals(kind="poisson", rate=(4.0,), requests=200))
    queue = [(at, compressed(num_tokens=32, max_tokens=32)) for at in times]

    def tail(name: str) -> float:
        requests = a_scheduler(queue, name, limits(kv_bytes="16KiB")).run()
        return sorted(one.times_s[0] - one.arrival_s for one in requests)[-2]

    assert 50 * tail("fastcache") < tail("fastcache_published")


def test_a_wait_is_turned_into_work_unless_the_policy_may_idle() -> None:
    class Lazy:
        may_idle = False

        def choose(self, view: object) -> Wait:
            return Wait(1e9)

        def done(self, action: Action, seconds: float) -> None:
            pass

    (one,) = a_scheduler([(0.0, a_demand())], Lazy()).run()
    assert one.num_emitted == 10
    assert one.times_s[-1] < 1.0


def test_an_unknown_policy_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="no policy 'prefil_first'.*Did you mean 'prefill_first'"):
        check_policy("prefil_first")
    assert make_policy("static") is not make_policy("static")
