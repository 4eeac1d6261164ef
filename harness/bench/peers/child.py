"""One way in a process of its own: ``python -m …bench.peers.child WAY JOB DONE``."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from encodeonce.harness.bench.peers.job import Done, Job

STARTED_S = time.perf_counter()


def main() -> None:
    """Do a job one way, and write what was done."""
    from encodeonce.harness.bench.peers.job import Job

    way, job_file, done_file = sys.argv[1:]
    do(way, Job.read(Path(job_file))).write(Path(done_file))


def do(way: str, job: "Job") -> "Done":
    """Do a job one way, here.

    Raises:
        ValueError: there is no such way, or it failed.
    """
    from encodeonce.harness.bench.peers import lmms_eval, ours, vllm_alone, vlmevalkit

    config = job.run_config()
    in_vllm = job.run_config(engine={"name": "vllm", "kv_cache_gib": 0.5, "eager": True})
    engine = in_vllm.engine
    match way:
        case "plain":
            return ours.plain(config, STARTED_S)
        case "cold":
            return ours.cold(job.run_config(cache={"path": job.empty}), STARTED_S)
        case "warm":
            return ours.stored(config, STARTED_S)
        case "engine-vllm":
            return ours.stored(in_vllm, STARTED_S)
        case "vllm":
            return vllm_alone.alone(config, STARTED_S, engine)
        case "vllm-connector":
            return vllm_alone.alone(config, STARTED_S, engine, job.connector)
        case "vllm-embeddings":
            return vllm_alone.embedded(config, STARTED_S, engine)
        case "lmms-eval":
            return lmms_eval.by_command_line(config, STARTED_S, is_ours=False)
        case "lmms-eval-ours":
            return lmms_eval.by_command_line(config, STARTED_S, is_ours=True)
        case "vlmevalkit-ours":
            return vlmevalkit.ours_inside(config, STARTED_S)
    raise ValueError(f"{way!r} is no way")


if __name__ == "__main__":
    main()
