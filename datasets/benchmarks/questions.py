"""Your own questions: a file or a Hugging Face dataset, and a folder of media."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from encodeonce.datasets.metrics.exact_match import score_exact_match
from encodeonce.datasets.metrics.multiple_choice import score_choice
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import format_question
from encodeonce.datasets.readers.hugging_face import hugging_face_datasets
from encodeonce.datasets.readers.questions import (
    Columns,
    Row,
    from_text,
    json_lines,
    read_samples,
)
from encodeonce.datasets.readers.tsv import text_rows
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score

_BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ALLOWED = ", ".join([".jsonl", *_BUILDERS, *_DELIMITERS])


class BENCHMARK(BaseModel):
    """Questions with options are scored by the letter, free answers by VQA's exact match."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"file": "questions.jsonl", "media_root": "videos"}]},
    )

    about: ClassVar[About] = About(
        title="Your own questions: options or free answers, from a file or the Hub",
        media="both",
        source="you",
        download=(
            "A JSONL, parquet, Arrow, CSV or TSV file with a row for each question (or a data set "
            "of the Hugging Face Hub), as option `file` (or `hub`), and the media files its rows "
            "name, under `media_root`. `columns` says which column is what."
        ),
    )

    file: LocalPath | None = Field(
        default=None,
        description="A .jsonl, .parquet, .arrow, .csv or .tsv file, or a folder that "
        "`Dataset.save_to_disk` wrote.",
    )
    hub: str | None = Field(
        default=None, description="Instead of a file: a dataset of the Hugging Face Hub."
    )
    config: str | None = Field(default=None, description="The Hub dataset's configuration.")
    split: str | None = Field(
        default=None, description="Which split of a Hub dataset, or of a saved DatasetDict."
    )
    media_root: LocalPath = Field(description="Folder that media paths are relative to.")
    columns: Columns = Field(
        default=Columns(), description="The columns' names, where they are not the usual ones."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> "BENCHMARK":
        if (self.file is None) == (self.hub is None):
            raise ValueError("write either 'file' or 'hub'")
        if self.hub is None and self.config is not None:
            raise ValueError("'config' belongs to 'hub'")
        if self.hub is not None and self.split is None:
            raise ValueError("'hub' needs a 'split', e.g. 'test'")
        return self

    def samples(self) -> Iterator[Sample]:
        """Yield the samples in the order of the rows.

        Raises:
            BenchmarkError: the source cannot be read, or a row is wrong; names the line.
        """
        if not self.media_root.is_dir():
            raise BenchmarkError(f"media_root: {self.media_root} is not a folder")
        return read_samples(self._rows(), self.columns)

    def prompt(self, sample: Sample) -> str:
        """Return the question with its options and the usual instruction."""
        return format_question(sample.question, sample.choices)

    def score(self, sample: Sample, answer: str) -> Score:
        """Score by the option's letter where there are options, else by exact match."""
        return score_choice(sample, answer) if sample.choices else score_exact_match(sample, answer)

    def _rows(self) -> Iterator[Row]:
        if self.file is not None and self.file.suffix == ".jsonl":
            return json_lines(self.file)
        if self.file is not None and self.file.suffix in _DELIMITERS:
            return self._text_rows(self.file, _DELIMITERS[self.file.suffix])
        return self._dataset_rows()

    def _text_rows(self, file: Path, delimiter: str) -> Iterator[Row]:
        for row in text_rows(file, delimiter):
            yield from_text(row, self.columns)

    def _dataset_rows(self) -> Iterator[Row]:
        name = str(self.file or self.hub)
        try:
            table = self._dataset()
        except (OSError, ValueError, hugging_face_datasets().exceptions.DatasetsError) as error:
            raise BenchmarkError(f"{name} cannot be loaded: {error}") from error
        classes = {
            column: feature
            for column, feature in table.features.items()
            if hasattr(feature, "int2str")
        }
        for number, content in enumerate(table, start=1):
            # A class is held as its number; what people wrote is its name.
            named = {
                column: feature.int2str(content[column])
                for column, feature in classes.items()
                if content[column] is not None
            }
            row = Row(place=f"{name}, row {number}", content={**content, **named})
            yield row if self.file is not None else from_text(row, self.columns)

    def _dataset(self) -> Any:
        """Return the source as a Hugging Face dataset."""
        hf_datasets = hugging_face_datasets()
        if self.file is None:
            return self._from_hub(hf_datasets)
        if self.file.is_dir():
            return self._saved(hf_datasets.load_from_disk(str(self.file)))
        return self._from_file(hf_datasets, self.file)

    def _from_hub(self, hf_datasets: Any) -> Any:
        arguments: dict[str, Any] = {"path": self.hub, "name": self.config, "split": self.split}
        table = hf_datasets.load_dataset(**arguments)
        if table.builder_name != "csv":
            return table
        # Once more, with cells as texts: what pandas makes of them is a guess.
        texts = hf_datasets.Features({name: hf_datasets.Value("string") for name in table.features})
        return hf_datasets.load_dataset(**arguments, features=texts, keep_default_na=False)

    def _saved(self, loaded: Any) -> Any:
        if not isinstance(loaded, dict):
            return loaded
        if self.split not in loaded:
            raise BenchmarkError(
                f"{self.file} holds the splits {', '.join(loaded)}; write one as 'split', got "
                f"{self.split!r}"
            )
        return loaded[self.split]

    def _from_file(self, hf_datasets: Any, file: Path) -> Any:
        if file.suffix not in _BUILDERS:
            raise BenchmarkError(
                f"file: {file} ends in {file.suffix!r}; allowed: {_ALLOWED}, or a folder that "
                f"Dataset.save_to_disk wrote"
            )
        builder = _BUILDERS[file.suffix]
        return hf_datasets.load_dataset(builder, data_files=str(file), split="train")
