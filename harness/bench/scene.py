"""Sets up one media item and one model to be measured; the measurements of models share it."""

from dataclasses import dataclass
from pathlib import Path

from encodeonce.datasets.media.media import MediaKind, MediaRef
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.harness.run.cache_spec import CacheSpec
from encodeonce.harness.run.config import BenchmarkSpec, RunConfig
from encodeonce.harness.workers.session import Session
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.vision.visual import Visual


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSpec:
    """The model and the media item to measure on."""

    model: ModelSpec
    model_name: str
    """For reports: a path may mean something on this machine only."""
    vision: VisionSpec
    media: Path
    """A picture or a video."""
    kind: MediaKind
    frames: FrameSampling
    folder: Path
    """For the feature store."""


class Scene:
    """A media item looked up, and a session that reads its features from the store.

    Attributes:
        request: the media item.
        session: answers about it; never loads the tower.
    """

    def __init__(self, spec: SceneSpec) -> None:
        """Look the media item up; no weights are loaded.

        Raises:
            CheckpointError: the model cannot be used.
            MediaError: the media item cannot be used.
        """
        self.spec = spec
        self._config = RunConfig(
            model=spec.model,
            benchmarks=(BenchmarkSpec(name="questions"),),
            frames=spec.frames,
            vision=spec.vision,
            cache=CacheSpec(path=spec.folder),
            output=spec.folder,
        )
        self.session = Session(self._config)
        ref = MediaRef(kind=spec.kind, path=spec.media.name)
        root = spec.media.parent.absolute()
        self.request = self.session.look_up(root, ref, "bench")

    def encoding(self) -> Session:
        """Return a session that may load the tower. Closing it frees all of its memory."""
        return Session(self._config, on_miss="encode")

    def encode(self) -> None:
        """Put the media item's features into the store."""
        with self.encoding() as session:
            session.features.ensure(self.request)

    def visuals(self) -> list[Visual]:
        """Return the media item as the language side takes it, read from the store."""
        return [self.session.visual(self.request)]

    def close(self) -> None:
        """Close the session."""
        self.session.close()
