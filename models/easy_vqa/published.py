"""Print a run's accuracies on easy-VQA beside the figures that its authors published.

Run as `python -m encodeonce.models.easy_vqa.published FOLDER`; `make easy-vqa` does it last.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PUBLISHED = (
    ("authors: CNN and bag of words, 8 epochs", "93.8"),
    ("authors: larger CNN, on other pictures, twice as many", "99.5"),
)
"""Of https://victorzhou.com/blog/easy-vqa/ and of the README of
https://github.com/vzhou842/easy-VQA-keras. The first is on the same test split; the second was
trained and tested on 10,000 pictures that the authors drew anew."""
NUM_QUESTIONS = 9673


def rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a run's variants, each with its accuracy in percent and the 95 % interval.

    Args:
        report: the content of a run's report.json.
    """
    for name, variant in report["variants"]["variants"].items():
        found = variant["benchmarks"]["easy_vqa"]
        mean, low, high = (100 * found["accuracy"][key] for key in ("mean", "low", "high"))
        asked = f"{found['num_scored']} of {NUM_QUESTIONS}"
        yield name, f"{mean:.1f} ({low:.1f} to {high:.1f}; {asked} questions)"


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="output folders of runs")
    found = list(PUBLISHED)
    for folder in parser.parse_args().runs:
        path = folder / "report.json"
        if not path.exists():
            parser.error(f"{path} is not there; type: encodeonce run models/easy_vqa/run.yaml")
        found += rows(json.loads(path.read_text(encoding="utf-8")))
    lines = [f"| {name} | {accuracy} |" for name, accuracy in found]
    print("\n".join(["| easy-VQA, test split | accuracy, % |", "| --- | --- |", *lines]))  # noqa: T201


if __name__ == "__main__":
    main()
