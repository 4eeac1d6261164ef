"""A driver to be killed: `python -m tests.jobs.journalled_run FOLDER NUM_WORKERS NUM_ITEMS`."""

import sys
import time
from functools import partial
from pathlib import Path

from encodeonce.jobs.journal import Journal
from encodeonce.jobs.ray_executor import RayExecutor
from tests.contracts.executor import ScriptedWorker, item


class SlowWorker(ScriptedWorker):
    """Takes long enough for its driver to be killed meanwhile."""

    def do(self, payload: dict[str, str]) -> object:
        time.sleep(0.05)
        return super().do(payload)


def begin_or_continue(folder: Path, num_workers: int, num_items: int) -> None:
    """Run the items that the folder's journal does not have."""
    items = [item(f"i{n}") for n in range(num_items)]
    executor = RayExecutor(num_workers=num_workers)
    with Journal(folder / "journal.jsonl", fingerprint="f") as journal:
        todo = journal.remaining(items)
        for outcome in executor.run(todo, partial(SlowWorker, folder)):
            journal.append(outcome)


if __name__ == "__main__":
    begin_or_continue(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
