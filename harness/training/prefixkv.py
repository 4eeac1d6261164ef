"""Makes PrefixKV's profile of a run: what each layer keeps, averaged over some samples."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import MediaGroup, Plan, make_plan
from encodeonce.harness.workers.session import Session
from encodeonce.models.kv.methods.prefixkv import search
from encodeonce.models.kv.prefixkv_profile import Profile
from encodeonce.models.kv.selection import uniform_count
from encodeonce.models.kv.statistics import Needs, PromptStatistics
from encodeonce.models.spec import NONE


def calibrate_prefixkv(
    config: RunConfig,
    num_samples: int,
    budgets: Sequence[float],
    on_sample: Callable[[str], None],
) -> Profile:
    """Return what each layer keeps, averaged over some prompts, for each budget.

    The paper's offline configuration (Wang et al., 2024, arXiv:2412.03409, sec. 3.3).

    Args:
        config: model, benchmarks and store.
        num_samples: number of samples, drawn from as many media as possible.
        budgets: fractions of the cache to keep.
        on_sample: called before each sample, with its name.

    Raises:
        ValueError: the run has too few samples, or features are missing from the store and
            ``cache.on_miss`` is 'error'.
    """
    plan = make_plan(config)
    if plan.num_samples < num_samples:
        raise ValueError(
            f"--num-samples {num_samples}: the run has {plan.num_samples}; ask for fewer"
        )
    kept: dict[float, list[list[float]]] = {budget: [] for budget in budgets}
    digest = hashlib.sha256()
    with Session(config) as session:
        decoder = session.decoder_slot.put(NONE)
        for group, number in _spread(plan, num_samples):
            name = f"{group.benchmark}/{group.samples[number].id}"
            on_sample(name)
            digest.update(f"{name} {group.prompts[number]}\n".encode())
            visuals = []
            for ref in group.media:
                request = session.look_up(group.root, ref, group.benchmark)
                digest.update(f"{request.media.sha256}\n".encode())
                visuals.append(session.visual(request))
            needs = Needs(column_sums=True)
            prompt = decoder.inspect(visuals, group.prompts[number], needs)
            for budget, shares in kept.items():
                shares.append(_shares(prompt, budget))
        checkpoint_sha256 = session.checkpoint_sha256()
    return Profile(
        checkpoint_sha256=checkpoint_sha256,
        model=config.model.path,
        data_sha256=digest.hexdigest(),
        num_samples=num_samples,
        layers={f"{budget:g}": _mean(shares) for budget, shares in kept.items()},
    )


def _spread(plan: Plan, num_samples: int) -> Iterator[tuple[MediaGroup, int]]:
    """Yield samples: the first of every media group, then the second of each, and so on."""
    by_group = [[(group, n) for n in range(len(group.samples))] for group in plan.groups]
    in_turn = (one for turn in zip_longest(*by_group) for one in turn if one is not None)
    for _, one in zip(range(num_samples), in_turn, strict=False):
        yield one


def _shares(prompt: PromptStatistics, budget: float) -> list[float]:
    """Return the fraction of a prompt that each layer keeps."""
    importance = [layer.column_sums.mean(0) for layer in prompt.layers]
    total = uniform_count(prompt.num_tokens, budget) * len(importance)
    return [count / prompt.num_tokens for count in search(importance, total)]


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [round(sum(column) / len(rows), 6) for column in zip(*rows, strict=True)]
