"""A driver to be stopped: `python -m tests.jobs.slow_run FOLDER NUM_WORKERS NUM_ITEMS`."""

import signal
import sys
import time
from functools import partial
from pathlib import Path

from encodeonce.harness.run.jsonl import JsonLinesWriter
from encodeonce.jobs.execution.ray_executor import RayExecutor
from tests.contracts.executor import ScriptedWorker, item


class SlowWorker(ScriptedWorker):
    """Takes long enough for a test to stop its driver."""

    def do(self, payload: dict[str, str]) -> object:
        time.sleep(0.05)
        return super().do(payload)


def main(folder: Path, num_workers: int, num_items: int) -> None:
    """Run the items, and write down which have ended."""
    executor = RayExecutor(num_workers=num_workers)
    items = [item(f"i{n}") for n in range(num_items)]
    with JsonLinesWriter(folder / "ended.jsonl") as ended:
        for outcome in executor.run(items, partial(SlowWorker, folder)):
            ended.write(outcome.item)


if __name__ == "__main__":
    # A shell's background jobs ignore the interrupt key, and so would their children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
