"""What a benchmark of the program sets up: one model, one media, a store of its own."""

from contextlib import closing
from pathlib import Path

from encodeonce.datasets.media import MediaKind, MediaRef
from encodeonce.datasets.sampling import FrameSampling
from encodeonce.harness.config import BenchmarkSpec, CacheSpec, RunConfig
from encodeonce.harness.features import FeatureSource, MediaRequest
from encodeonce.harness.workplace import Workplace
from encodeonce.models.family import Visual
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.timing import Stopwatch


def bench_workplace(
    model: ModelSpec, vision: VisionSpec, frames: FrameSampling, folder: Path
) -> Workplace:
    """Return a workplace whose store is in ``folder``."""
    config = RunConfig(
        model=model,
        benchmarks=(BenchmarkSpec(name="questions"),),
        frames=frames,
        vision=vision,
        cache=CacheSpec(path=folder),
        output=folder,
    )
    return Workplace(config)


def bench_request(workplace: Workplace, media: Path, kind: MediaKind) -> MediaRequest:
    """Return what is needed of a picture or video anywhere on this machine."""
    ref = MediaRef(kind=kind, path=media.name)
    return workplace.request(media.parent.absolute(), ref, "bench")


def encoded(workplace: Workplace, request: MediaRequest) -> list[Visual]:
    """Return a media with its features, encoded if need be; the tower is gone afterwards."""
    store, provenance = workplace.open_store(), workplace.provenance()
    with closing(FeatureSource(store, workplace.vision.load, Stopwatch(), provenance)) as source:
        source.ensure(request)
        features = source.fetch(request)
    return [Visual(info=request.info, units=request.units, features=features)]
