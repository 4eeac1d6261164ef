"""``encodeonce bench``: measures the program itself."""

import typer

from encodeonce.jobs.cli.lazy import Lazy, LazyGroup


class _Commands(LazyGroup):
    lazy = {
        "prefix": Lazy(
            "bench.prefix:prefix",
            "Compare no cache, stored features, a prefix shared by all questions, and a resident "
            "one.",
        ),
        "engine": Lazy(
            "bench.engine:engine",
            "Compare transformers' generate with answers about several pictures decoded as one "
            "batch.",
        ),
        "kv": Lazy(
            "bench.kv:kv",
            "Compare compressed caches with transformers' own: seconds by stage, tokens/s, memory.",
        ),
        "sweep": Lazy(
            "bench.sweep:sweep",
            "Compare one run of all KV settings with separate runs: seconds, and whether answers "
            "agree.",
        ),
        "quant": Lazy(
            "bench.quant:quant",
            "Compare weight variants with the unquantised model: memory, first token, tokens/s, "
            "output.",
        ),
        "adapters": Lazy(
            "bench.adapters:adapters",
            "Compare rows of different adapters in one batch with peft's ways, and with merging a "
            "copy.",
        ),
        "peers": Lazy(
            "bench.peers:peers",
            "Do one job by plain transformers, lmms-eval, vLLM in several ways, and by us.",
        ),
        "store": Lazy(
            "bench.store:store",
            "Compare our store with torch.save, safetensors, gzip, zarr and LMDB on the same data.",
        ),
        "video": Lazy(
            "bench.video:video",
            "Compare PyAV, torchcodec and decord: whether frames are those asked for, frames/s.",
        ),
        "cluster": Lazy(
            "bench.cluster:cluster",
            "Say what of a large cluster would break first: loads from costs measured on this "
            "machine.",
        ),
        "scale": Lazy(
            "bench.scale:scale",
            "Measure the store's index, the plan and the report at several sizes: seconds and "
            "memory.",
        ),
        "serve": Lazy(
            "bench.serve:serve",
            "Serve concurrent requests under several KV caches: latency, goodput and accuracy.",
        ),
        "costs": Lazy(
            "bench.costs:costs",
            "Measure the stages of serving at several sizes, and fit coefficients to them.",
        ),
    }


bench_app = typer.Typer(cls=_Commands, help="Measure the program itself.", no_args_is_help=True)
