"""Reports what the stages of serving cost, and makes the file of it."""

import sys
from collections.abc import Sequence
from datetime import datetime

from encodeonce.datasets.refusals import checked
from encodeonce.harness.bench.cost_points import CostPoints
from encodeonce.harness.bench.machine import hardware, versions
from encodeonce.harness.bench.result_file import command_line
from encodeonce.harness.report.numbers import percent
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.serving.adapters.costs import AdapterCosts
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.serving.costs import FORMAT, Costs, architecture_sha256

_FORMS = {
    "fetch": "a + b units",
    "encode": "a + b units",
    "swap": "a + b bytes",
    "prefill": "a + b tokens + c pairs",
    "read": "a + b tokens + c pairs",
    "compress": "a + b tokens",
    "decode": "a + b rows + c bytes + d places",
}


def to_costs(config: ServeConfig, result: CostPoints, when: datetime) -> Costs:
    """Return the content of a costs file."""
    return checked(
        Costs,
        {
            "format": FORMAT,
            "date": when.isoformat(timespec="seconds"),
            "command": command_line(["encodeonce", *sys.argv[1:]]),
            "hardware": hardware(),
            "versions": versions(),
            "model": config.model.path.rpartition("/")[2],
            "architecture_sha256": architecture_sha256(config.model),
            "dtype": config.model.dtype,
            "clock": result.clock,
            "token_bytes": result.token_bytes,
            **{stage: result.coefficients(stage) for stage in ("fetch", "encode", "swap")},
            "adapters": result.adapters and result.adapters.model_dump(),
            "variants": {name: result.variant(name) for name in result.variants},
            "residuals": result.residuals(),
            "points": result.points(),
        },
    )


def _adapters(costs: AdapterCosts) -> Section:
    rows = [(f"decode, {kind}", *_ms(found)) for kind, found in costs.decode.items()]
    rows += [("prompt", *_ms(costs.prompt), ""), ("switch", *_ms([costs.switch_s]), "", "")]
    return Section(
        title=f"Milliseconds that adapters of rank {costs.rank} add",
        table=Table(columns=("", "a", "b", "c"), rows=tuple(rows)),
        sentences=(
            "Decode: a + b adapters + c rows. Prompt: a + b tokens. Switch: another adapter, or "
            "none, in the weights.",
        ),
    )


def _ms(seconds: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{1e3 * one:.3g}" for one in seconds)


def sections(costs: Costs) -> list[Section]:
    """Return the coefficients, in milliseconds, with what they miss."""
    rows = []
    for stage, residual in costs.residuals.items():
        variant, _, kind = stage.rpartition(": ")
        found = getattr(costs.variants[variant] if variant else costs, kind)
        cells = [f"{1e3 * one:.3g}" for one in found] + [""] * (4 - len(found))
        rows.append((stage, _FORMS[kind], *cells, percent(residual)))
    found = [] if costs.adapters is None else [_adapters(costs.adapters)]
    return [
        *found,
        Section(
            title="Milliseconds of each stage",
            table=Table(
                columns=("stage", "form", "a", "b", "c", "d", "off by at most"),
                rows=tuple(rows),
                num_words=2,
            ),
            sentences=(
                "Least squares of relative errors, no coefficient negative. The last column is the "
                "largest relative error on every third size, of a fit to the other sizes. What "
                "several variants share is listed under the first of them.",
                *costs.warnings(),
            ),
        ),
    ]
