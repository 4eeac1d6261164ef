"""A large cluster on paper: what each resource would have to bear, from costs of single steps.

Every load is a share of what there is; what is above 1 does not keep up, and the largest breaks
first. Costs are of this machine; a file server's latency is added where a step waits for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from encodeonce.cache_store.storage import USED_EVERY_S
from encodeonce.harness.bench.scale.costs import Costs

CLAIM_BEAT_S = 3.75
"""A claim is touched this often: a quarter of the 15 s after which it is void."""
APPEND_TRIPS = 4
"""Round trips while a record is appended: create, write with sync, link, remove."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What is to be done, and on what."""

    num_gpus: int = 1000
    num_media: int = 10_000_000
    units_a_media: int = 32
    feature_bytes: float = 100e12
    encode_s: float = 2.0
    """One media item on one GPU."""
    trip_s: float = 0.0005
    """A round trip to the file server."""
    server_ops: float = 100_000.0
    """Small operations a second that the file server manages."""
    server_bytes_s: float = 20e9
    memory_bytes: float = 16e9
    """For the index, in each worker's process."""
    max_files: float = 50e6
    """Files that the file system is fit for."""
    media_a_pack: int = 1
    """Media items that are committed together; today each is, as soon as it is encoded."""
    num_stores: int = 1
    """Stores that media are spread over, each with a log of its own."""
    driver_s: float = 0.0005
    """The driver's time for one item: handed out, answered, written down."""
    item_bytes: float = 1500.0
    """The driver's memory for one item."""
    driver_bytes: float = 64e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a resource has to bear."""

    name: str
    share: float
    """Of what there is; above 1 it breaks."""
    words: str


def loads(cluster: Cluster, costs: Costs) -> list[Load]:
    """Return the loads, the largest first."""
    return sorted([*_rates(cluster, costs), *_sizes(cluster, costs)], key=lambda load: -load.share)


def _rates(cluster: Cluster, costs: Costs) -> Iterator[Load]:
    """Yield what grows with the media that are encoded in a second."""
    media_s = cluster.num_gpus / cluster.encode_s
    commits_s = media_s / cluster.media_a_pack / cluster.num_stores
    append_s = costs.append_s + APPEND_TRIPS * cluster.trip_s
    yield Load(
        name="the log: commits, one after the other",
        share=commits_s * append_s,
        words=f"{commits_s:,.0f} commits/s to a log, {append_s * 1e3:.2f} ms each",
    )
    follow_s = costs.follow_s + cluster.trip_s
    yield Load(
        name="each worker, following the log",
        share=commits_s * follow_s,
        words=f"{commits_s:,.0f} records/s of others, {follow_s * 1e3:.2f} ms each",
    )
    writers = cluster.num_gpus / cluster.num_stores
    reads = commits_s * writers * cluster.num_stores
    others = media_s * (2 + 8 / cluster.media_a_pack) + cluster.num_gpus / CLAIM_BEAT_S
    yield Load(
        name="the file server's small operations",
        share=(reads + others) / cluster.server_ops,
        words=f"{reads:,.0f} records read/s by all workers, {others:,.0f} others",
    )
    yield Load(
        name="the driver's time",
        share=media_s * cluster.driver_s,
        words=f"{media_s:,.0f} items/s, {cluster.driver_s * 1e3:.2f} ms each",
    )
    yield Load(
        name="claims, in a worker's time",
        share=(costs.claim_s + 3 * cluster.trip_s) / cluster.encode_s,
        words=f"{costs.claim_s * 1e3:.2f} ms and three trips for each item",
    )


def _sizes(cluster: Cluster, costs: Costs) -> Iterator[Load]:
    """Yield what grows with the media: memory, files, bytes read."""
    media_s = cluster.num_gpus / cluster.encode_s
    hours = cluster.num_media / media_s / 3600
    num_units = cluster.num_media * cluster.units_a_media / cluster.num_stores
    num_packs = cluster.num_media / cluster.media_a_pack / cluster.num_stores
    index_bytes = num_units * costs.unit_bytes + num_packs * costs.pack_bytes
    yield Load(
        name="the index in a worker's memory",
        share=index_bytes / cluster.memory_bytes,
        words=f"{index_bytes / 1e9:.1f} GB for {num_units:,.0f} units in {num_packs:,.0f} packs",
    )
    files = 3 * cluster.num_media / cluster.media_a_pack
    yield Load(
        name="files",
        share=files / cluster.max_files,
        words=f"{files:,.0f}: packs, records and notes of use",
    )
    yield Load(
        name="the file server's bandwidth",
        share=cluster.feature_bytes / (hours * 3600) / cluster.server_bytes_s,
        words=f"{cluster.feature_bytes / (hours * 3600) / 1e9:.1f} GB/s for {hours:.1f} h",
    )
    driver_bytes = cluster.num_media * cluster.item_bytes
    yield Load(
        name="the driver's memory",
        share=driver_bytes / cluster.driver_bytes,
        words=f"{driver_bytes / 1e9:.1f} GB for {cluster.num_media:,} items",
    )
    packs_used_s = min(media_s / cluster.media_a_pack, num_packs / USED_EVERY_S)
    yield Load(
        name="notes of use",
        share=packs_used_s / cluster.server_ops,
        words=f"{packs_used_s:,.0f} touches/s",
    )
