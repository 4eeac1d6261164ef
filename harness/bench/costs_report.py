"""Reports what the stages of serving cost, and makes the file of it."""

import sys
from datetime import datetime

from encodeonce.datasets.refusals import checked
from encodeonce.harness.bench.cost_points import CostPoints
from encodeonce.harness.bench.machine import hardware, versions
from encodeonce.harness.bench.result_file import command_line
from encodeonce.harness.report.numbers import percent
from encodeonce.harness.report.section import Section, Table
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
            "variants": {name: result.variant(name) for name in result.variants},
            "residuals": result.residuals(),
            "points": result.points(),
        },
    )


def sections(costs: Costs) -> list[Section]:
    """Return the coefficients, in milliseconds, with what they miss."""
    rows = []
    for stage, residual in costs.residuals.items():
        variant, _, kind = stage.rpartition(": ")
        found = getattr(costs.variants[variant] if variant else costs, kind)
        cells = [f"{1e3 * one:.3g}" for one in found] + [""] * (4 - len(found))
        rows.append((stage, _FORMS[kind], *cells, percent(residual)))
    return [
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
        )
    ]
