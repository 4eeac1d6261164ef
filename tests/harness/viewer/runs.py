"""A run of two variants on the demo's own clips, and a second one, for tests of the viewer."""

from pathlib import Path
from typing import Any

from encodeonce.datasets.registry import load_benchmark
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.record import Record, SampleError
from encodeonce.models.kv.spec import FULL, KVSpec
from tests.harness.runs import a_record, write_run

HALF = KVSpec(method="snapkv", keep=0.5)
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"alert(2)\">\ud800"


def demo_records(variant: str, num_samples: int, **changes: Any) -> list[Record]:
    """Return answers to the demo's first questions; each third of a compressed cache is wrong."""
    samples = list(load_benchmark("demo", {}).samples())[:num_samples]
    found = []
    for number, sample in enumerate(samples):
        is_right = variant.endswith("full") or number % 3 != 1
        found.append(
            a_record(
                sample.id,
                float(is_right),
                benchmark="demo",
                variant=variant,
                group=sample.media[0].path,
                question=sample.question,
                target=sample.target,
                choices=sample.choices,
                tags=dict(sample.tags),
                text=sample.target if is_right else f"not {sample.target}",
                **changes,
            )
        )
    return found


def demo_run(folder: Path, num_samples: int = 12, *more: Record) -> RunFolder:
    """Write a run of two variants on the demo."""
    records = [
        *demo_records("none/full", num_samples),
        *demo_records(f"none/{HALF.title}", num_samples),
        *more,
    ]
    cache = {"path": str(folder.parent / "cache")}
    return write_run(folder, records, kv=[FULL, HALF], cache=cache)


def hostile_records() -> list[Record]:
    """Return records in which all that others wrote looks like markup."""
    said = dict.fromkeys(("question", "target"), HOSTILE) | {"tags": {HOSTILE: HOSTILE}}
    choices = (HOSTILE, "b")
    error = SampleError(type="ValueError", message=HOSTILE)
    return [
        a_record(HOSTILE, 0.0, benchmark=HOSTILE, text=HOSTILE, choices=choices, **said),
        a_record("e", None, benchmark=HOSTILE, text=None, error=error, choices=choices, **said),
    ]
