"""``encodeonce bench``: measures the program itself."""

import typer

from encodeonce.jobs.cli.bench.adapters import adapters
from encodeonce.jobs.cli.bench.costs import costs
from encodeonce.jobs.cli.bench.engine import engine
from encodeonce.jobs.cli.bench.kv import kv
from encodeonce.jobs.cli.bench.prefix import prefix
from encodeonce.jobs.cli.bench.quant import quant
from encodeonce.jobs.cli.bench.serve import serve
from encodeonce.jobs.cli.bench.store import store
from encodeonce.jobs.cli.bench.sweep import sweep

bench_app = typer.Typer(
    help="Measure the program itself.", no_args_is_help=True, add_completion=False
)
for command in (prefix, engine, kv, sweep, quant, adapters, store, serve, costs):
    bench_app.command()(command)
