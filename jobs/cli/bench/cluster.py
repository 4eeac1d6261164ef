"""``encodeonce bench cluster``: a large cluster on paper, from costs measured here."""

from dataclasses import asdict, replace
from typing import Annotated

import typer

from encodeonce.harness.bench.scale.costs import Costs, measure_costs
from encodeonce.harness.bench.scale.paper import Cluster, loads
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.run.sizes import parse_bytes
from encodeonce.jobs.cli.bench.measuring import measuring, print_step
from encodeonce.jobs.cli.bench.options import DiskFolder, Output

_DEFAULT = Cluster()


def cluster(
    gpus: Annotated[int, typer.Option(help="GPUs, a worker each.", min=1)] = _DEFAULT.num_gpus,
    media: Annotated[int, typer.Option(help="Media items.", min=1)] = _DEFAULT.num_media,
    features: Annotated[str, typer.Option(help="Size of all features: 100TB.")] = "100TB",
    encode_s: Annotated[
        float, typer.Option(help="Seconds of a GPU for a media item.", min=0.001)
    ] = _DEFAULT.encode_s,
    trip_ms: Annotated[
        float, typer.Option(help="Round trip to the file server, ms.", min=0.0)
    ] = _DEFAULT.trip_s * 1e3,
    media_a_pack: Annotated[
        int, typer.Option(help="What if so many media were committed together?", min=1)
    ] = 1,
    stores: Annotated[
        int, typer.Option(help="What if the media were spread over so many stores?", min=1)
    ] = 1,
    folder: DiskFolder = None,
    output: Output = None,
) -> None:
    """Say what of a large cluster would break first: loads from costs measured on this machine."""
    with measuring("cluster", output) as run:
        asked = replace(
            _DEFAULT,
            num_gpus=gpus,
            num_media=media,
            feature_bytes=float(parse_bytes(features)),
            encode_s=encode_s,
            trip_s=trip_ms / 1e3,
            media_a_pack=media_a_pack,
            num_stores=stores,
        )
        print_step("commits, look-ups and claims")
        costs = measure_costs(folder)
        found = loads(asked, costs)
        data = {"cluster": asdict(asked), "costs": asdict(costs), "loads": list(map(asdict, found))}
        rows = [(load.name, f"{load.share:.3g}", load.words) for load in found]
        table = Table(columns=("what", "share of what there is", "how much"), rows=tuple(rows))
        first = found[0]
        verdict = (
            f"{first.name} would break first."
            if first.share > 1
            else f"Nothing would break; {first.name} would be nearest to it."
        )
        section = Section(
            title=f"{gpus:,} GPUs, {media:,} media, {features}, on paper",
            table=table,
            sentences=(verdict, _measured(costs)),
        )
        run.report([section], data)


def _measured(costs: Costs) -> str:
    return (
        f"Measured here: a put of 32 tiny units {costs.put_s * 1e3:.2f} ms, of which the record "
        f"{costs.append_s * 1e3:.2f} ms; another's record read and applied "
        f"{costs.follow_s * 1e3:.2f} ms; a claim {costs.claim_s * 1e3:.2f} ms; "
        f"{costs.pack_bytes:.0f} bytes of the index a pack and {costs.unit_bytes:.0f} a unit. The "
        "other figures are assumptions: the options, and `Cluster` in harness/bench/scale/paper.py."
    )
