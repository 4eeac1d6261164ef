"""Wraps benchmarks of encodeonce as VLMEvalKit's data sets. Imported only inside the kit.

Questions, prompts and scores are the benchmark's own, so any model of the kit can be asked and is
scored as ``encodeonce run`` would score it.
"""

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from vlmeval.dataset.image_base import ImageBaseDataset
from vlmeval.dataset.video_base import VideoBaseDataset
from vlmeval.smp import LMUDataRoot, dump, get_intermediate_file_path, load

from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.media import MediaError, MediaRef
from encodeonce.datasets.media.sampling import EveryInterval
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, Sample
from encodeonce.harness.bridges.vlmevalkit.frames import FrameFiles
from encodeonce.harness.bridges.vlmevalkit.message import PLANNED, READS_CLIPS
from encodeonce.harness.bridges.vlmevalkit.run_file import KitConfig
from encodeonce.harness.bridges.vlmevalkit.table import FAILED, table_rows
from encodeonce.harness.results.intervals import clustered_mean
from encodeonce.harness.run.config import BenchmarkSpec
from encodeonce.harness.run.plan import PlannedMedia

Part = dict[str, Any]


class _Ours:
    """The common part of picture and video benchmarks.

    The kit reads names, types and modality off classes, so each benchmark is a class.
    """

    TITLE: ClassVar[str]
    BENCHMARK: ClassVar[Benchmark]
    SAMPLES: ClassVar[tuple[Sample, ...]]
    FRAMES: ClassVar[FrameFiles]

    @classmethod
    def supported_datasets(cls) -> list[str]:
        """Return the names that the kit finds this class by."""
        return [cls.TITLE]

    def build_prompt(self, line: Any, video_llm: Any = False) -> list[Part]:
        """Return a sample's message: its media, then the benchmark's prompt.

        Args:
            line: a row, or its position.
            video_llm: whether the model reads videos.

        Raises:
            ValueError: the sample is about part of a video, and the model would read all of it.
        """
        sample = self.SAMPLES[int(line if isinstance(line, int) else line["index"])]
        media = [part for ref in sample.media for part in self._parts(ref, video_llm)]
        return [*media, {"type": "text", "value": self.BENCHMARK.prompt(sample)}]

    def evaluate(self, eval_file: str, **judge_kwargs: Any) -> dict[str, float]:
        """Score a file of predictions by the benchmark's own rule; no judge is asked."""
        table = _read_predictions(eval_file)
        failed = table["prediction"].str.contains(FAILED, regex=False)
        scored = [
            (self.SAMPLES[int(index)], prediction)
            for index, prediction in zip(
                table["index"][~failed], table["prediction"][~failed], strict=True
            )
        ]
        scores = [self.BENCHMARK.score(sample, prediction) for sample, prediction in scored]
        rows = pd.DataFrame(
            {
                "index": table["index"][~failed],
                "sample": [sample.id for sample, _ in scored],
                "prediction": [prediction for _, prediction in scored],
                "extracted": [score.extracted for score in scores],
                "score": [score.value for score in scores],
            }
        )
        dump(rows, get_intermediate_file_path(eval_file, "_score"))
        known = [
            (sample, score.value)
            for (sample, _), score in zip(scored, scores, strict=True)
            if score.value is not None
        ]
        result = _figures(known)
        result |= {"num_samples": len(table), "num_failed": int(failed.sum())}
        dump(result, get_intermediate_file_path(eval_file, "_rating", "json"))
        return result

    def _parts(self, ref: MediaRef, video_llm: Any) -> list[Part]:
        """Return the parts of a message that stand for a media item."""
        if ref.kind == "video" and not video_llm:
            return [{"type": "image", "value": str(path)} for path in self.FRAMES.paths(ref)]
        if ref.clip_s is not None and video_llm != READS_CLIPS:
            raise ValueError(
                f"{self.TITLE}: a sample is about {ref.clip_s} s of {ref.path}, and this model of "
                "VLMEvalKit reads whole videos only"
            )
        root = self.BENCHMARK.media_root.absolute()
        planned = PlannedMedia(root=root, ref=ref, benchmark=self.TITLE)
        return [{"type": ref.kind, "value": self._file(ref), PLANNED: planned}]

    def _file(self, ref: MediaRef) -> str:
        try:
            return self.FRAMES.library.resolve(ref).uri
        except MediaError:
            # Not a valid path: a model that opens it fails on this sample. Ours say why.
            return f"unusable: {ref.path}"


class VideoBenchmark(_Ours, VideoBaseDataset):  # type: ignore[misc]  # the kit has no types
    """A benchmark with videos, or pictures and videos."""

    def __init__(self) -> None:
        sampling = self.FRAMES.sampling
        if isinstance(sampling, EveryInterval):
            super().__init__(dataset=self.TITLE, fps=sampling.fps)
        else:
            super().__init__(dataset=self.TITLE, nframe=sampling.num_frames)

    def prepare_dataset(self, dataset: str) -> dict[str, str]:
        """Write the table to where the kit reads it."""
        table = pd.DataFrame(table_rows(self.SAMPLES))
        path = Path(LMUDataRoot()) / "encodeonce" / f"{dataset}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        dump(table, str(path))
        return {"root": str(self.BENCHMARK.media_root), "data_file": str(path)}


class ImageBenchmark(_Ours, ImageBaseDataset):  # type: ignore[misc]  # the kit has no types
    """A benchmark of pictures alone."""

    def __init__(self) -> None:
        super().__init__(dataset=self.TITLE)

    def load_data(self, dataset: str) -> pd.DataFrame:
        """Return the table."""
        return pd.DataFrame(table_rows(self.SAMPLES)).drop(columns="video")

    def dump_image(self, line: Any) -> list[str]:
        """Return a sample's files, for models that make their own prompts."""
        return [self._file(ref) for ref in self.SAMPLES[int(line["index"])].media]


def benchmark_class(spec: BenchmarkSpec, config: KitConfig) -> type[Any]:
    """Return a class of the kit's for a benchmark.

    Raises:
        BenchmarkError: there is no such benchmark, or its options or files are wrong.
    """
    benchmark = load_benchmark(spec.name, spec.options)
    samples = tuple(benchmark.samples())
    base = VideoBenchmark if any(_has_video(sample) for sample in samples) else ImageBenchmark
    kind = "MCQ" if all(sample.choices for sample in samples) else "VQA"
    ledger = Ledger(config.cache.path / "media.jsonl")
    frames = FrameFiles(
        folder=Path(LMUDataRoot()) / "images" / spec.title,
        library=MediaLibrary(benchmark.media_root, ledger),
        ledger=ledger,
        backend=config.video_backend,
        sampling=config.frames,
    )
    attributes = {
        "TITLE": spec.title,
        "BENCHMARK": benchmark,
        "SAMPLES": samples,
        "FRAMES": frames,
        "TYPE": f"Video-{kind}" if base is VideoBenchmark else kind,
    }
    return type(spec.title, (base,), attributes)


def _figures(scored: list[tuple[Sample, float]]) -> dict[str, float]:
    """Return the mean score with its clustered interval, and the mean of each tag."""
    figures: dict[str, float] = {"num_scored": len(scored)}
    overall = clustered_mean([v for _, v in scored], [sample.group for sample, _ in scored])
    if overall is not None:
        figures |= {"Overall": overall.mean, "low": overall.low, "high": overall.high}
    for tag, text in sorted({facet for sample, _ in scored for facet in sample.tags.items()}):
        of_tag = [value for sample, value in scored if sample.tags.get(tag) == text]
        figures[f"{tag}: {text}"] = sum(of_tag) / len(of_tag)
    return figures


def _has_video(sample: Sample) -> bool:
    return any(ref.kind == "video" for ref in sample.media)


def _read_predictions(eval_file: str) -> pd.DataFrame:
    """Read a prediction file, texts as they are: the kit's reader turns "07" into 7."""
    exact = {"dtype": {"prediction": str}, "keep_default_na": False}
    suffix = Path(eval_file).suffix
    if suffix == ".xlsx":
        return pd.read_excel(eval_file, **exact)
    if suffix == ".tsv":
        return pd.read_csv(eval_file, sep="\t", **exact)
    table = pd.DataFrame(load(eval_file))
    return table.assign(prediction=table["prediction"].astype(str))
