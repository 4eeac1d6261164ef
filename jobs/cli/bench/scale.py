"""``encodeonce bench scale``: measures what grows with a run, at several sizes."""

from enum import StrEnum
from typing import Annotated

import typer

from encodeonce.harness.bench.scale.measure import measure, to_json
from encodeonce.harness.bench.scale.report import sections
from encodeonce.jobs.cli.bench.measuring import measuring, print_step
from encodeonce.jobs.cli.bench.options import Output


class Part(StrEnum):
    """What can be measured, as `PARTS` has it."""

    INDEX = "index"
    PLAN = "plan"
    REPORT = "report"


def scale(
    parts: Annotated[
        list[Part] | None,
        typer.Argument(help="What to measure: index, plan, report. [default: all]"),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            help="Numbers of keys, samples or records, with commas. The aims are for 1000000 keys "
            "and records, and 500000 samples."
        ),
    ] = "1000,10000,100000",
    output: Output = None,
) -> None:
    """Measure the store's index, the plan and the report at several sizes: seconds and memory."""
    with measuring("scale", output) as run:
        asked = _sizes(sizes)
        names = [part.value for part in parts] if parts else list(Part)
        found = [one for name in names for one in measure(name, asked, print_step)]
        run.report(sections(found), to_json(found))


def _sizes(text: str) -> list[int]:
    found = [part.strip().replace("_", "") for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in found):
        raise ValueError(
            f"--sizes: got {text!r}; write whole numbers from 1 with commas, as in 1000,10000"
        )
    return sorted({int(part) for part in found})
