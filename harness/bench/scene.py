"""One media item and one model, set up to be measured: shared by the benchmarks of models."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from encodeonce.datasets.media.media import MediaKind, MediaRef
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.harness.run.config import BenchmarkSpec, CacheSpec, RunConfig
from encodeonce.harness.workers.features import FeatureSource, MediaRequest
from encodeonce.harness.workers.session import Workplace
from encodeonce.models.family import Decoder, Tower
from encodeonce.models.spec import NONE, ModelSpec, VisionSpec, WeightsSpec
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.visual import Visual


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSpec:
    """What is measured on."""

    model: ModelSpec
    model_name: str
    """For reports: a path may be of this machine alone."""
    vision: VisionSpec
    media: Path
    """A picture or a video."""
    kind: MediaKind
    frames: FrameSampling
    folder: Path
    """For the feature store."""


class Scene:
    """A media item that was looked up, and ways to its features and to the model's parts."""

    def __init__(self, spec: SceneSpec) -> None:
        """Look the media up; no weights are loaded.

        Raises:
            CheckpointError: the model cannot be used.
            MediaError: the media cannot be used.
        """
        self.spec = spec
        self.stopwatch = Stopwatch()
        config = RunConfig(
            model=spec.model,
            benchmarks=(BenchmarkSpec(name="questions"),),
            frames=spec.frames,
            vision=spec.vision,
            cache=CacheSpec(path=spec.folder),
            output=spec.folder,
        )
        self.workplace = Workplace(config)
        ref = MediaRef(kind=spec.kind, path=spec.media.name)
        root = spec.media.parent.absolute()
        self.request: MediaRequest = self.workplace.request(root, ref, "bench")

    def source(self, load_tower: Callable[[], Tower] | None = None) -> FeatureSource:
        """Return where features come from; with a tower, missing ones are made."""
        store = self.workplace.open_store()
        return FeatureSource(store, load_tower, self.stopwatch, self.workplace.provenance())

    def decoder(self, weights: WeightsSpec = NONE) -> Decoder:
        """Load the language side, its weights held as ``weights`` says."""
        return self.workplace.decoder(weights)

    def visuals(self, source: FeatureSource) -> list[Visual]:
        """Return the media as the language side is given it."""
        return [source.visual(self.request)]
