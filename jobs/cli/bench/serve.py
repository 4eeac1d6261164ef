"""``encodeonce bench serve``: concurrent requests, and what compression does for them."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.bench.serve_report import headline, sections, write_serve_report
from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.plain_console import PlainConsole, plain_text
from encodeonce.harness.report.terminal import print_report
from encodeonce.harness.report.visible import on_one_line
from encodeonce.harness.run.check_device import check_device
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.plan import Plan, make_plan
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.serving.adapters.costs import PEFT, check_kinds
from encodeonce.harness.serving.adapters.peft_model import INSTALL, has_peft
from encodeonce.harness.serving.answered import Answered, answered, unanswered, with_served
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.serving.costs import Costs, check_model, costs_named
from encodeonce.harness.serving.grid import Grid, ServedCell, Server, VirtualServer
from encodeonce.harness.serving.model_engine import ModelServer
from encodeonce.harness.serving.openai_client import OpenAIServer, check_client
from encodeonce.harness.serving.policy import lora_kind
from encodeonce.harness.serving.specs import OpenAIEngine, RayEngine
from encodeonce.harness.serving.summary import summarize_grid
from encodeonce.harness.workers.session import OnMiss, Session
from encodeonce.jobs.cli.run_options import Output, RayAddress
from encodeonce.jobs.cli.user_errors import stop, user_errors
from encodeonce.jobs.execution.select import check_ray_serve
from encodeonce.jobs.running import running

console = PlainConsole()


def serve(
    path: Annotated[
        Path,
        typer.Argument(metavar="EXPERIMENTS.yaml", help="Run file; docs/serving.md has its keys."),
    ],
    output: Output = None,
    ray_address: RayAddress = None,
) -> None:
    """Serve concurrent requests under several KV caches: latency, goodput and accuracy."""
    with user_errors(OSError):
        config = load_run_file(path, ServeConfig)
        if output is not None:
            config = config.model_copy(update={"output": output.absolute()})
        check_device(path, config)
        _check_engine(config)
        costs = _costs(config)
        known = _answers(config, ray_address)
        with _server(config, known, costs, ray_address) as server:
            cells = _serve(Grid(config, known, server))
            notes = server.notes
        if config.engine.kind == "openai":
            known = _served_answers(config, known, cells)
        beside = None
        if costs is not None and config.time.mode == "wall":
            beside = _serve(Grid(config, known, VirtualServer(config, costs)))
        warnings = [*notes, *(costs.warnings(_unused(config)) if costs else ())]
        summary = summarize_grid(config, known, cells, beside=beside, warnings=warnings)
        pages = write_serve_report(Path(config.output), summary)
        print_report(console, sections(summary))
        for line in headline(summary):
            console.print(on_one_line(line), style="bold", soft_wrap=True)
        for page in pages:
            console.print(f"report: {page}", soft_wrap=True)
        if failed := sum(cell["num_failed"] for cell in summary["cells"]):
            first = next(error for cell in summary["cells"] for error in cell["errors"])
            stop(
                f"{human_count(failed, 'request')} failed, e.g. {first}; repeat the command to "
                "serve their cells again"
            )


def _check_engine(config: ServeConfig) -> None:
    """Refuse an engine whose libraries are not installed."""
    if config.engine.kind == "openai":
        check_client()
    elif config.engine.kind == "ray":
        check_ray_serve()
    if config.time.mode == "wall" and not has_peft():
        for one in config.experiments:
            if lora_kind(config.policy_of(one)) == PEFT:
                raise ValueError(
                    f"experiments: {one.name!r}: policy {config.policy_of(one)!r} runs peft, which "
                    f"is not installed. Type: {INSTALL}"
                )


def _costs(config: ServeConfig) -> Costs | None:
    """Return the costs that the run file names, checked before anything is answered."""
    if config.time.costs is None:
        return None
    found = costs_named(config.time.costs)
    check_model(found, config.time.costs, config.model)
    for experiment in config.experiments:
        found.of(experiment.variant.name)
    if config.adapters is not None:
        random = config.adapters.random
        kinds = {one.name: lora_kind(config.policy_of(one)) for one in config.experiments}
        check_kinds(found.adapters, None if random is None else random.rank, kinds)
    return found


def _unused(config: ServeConfig) -> list[str]:
    """Return the stages whose costs say nothing about the run."""
    swaps = any(config.preempt_of(one) == "swap" for one in config.experiments)
    return ["encode" if config.features == "stored" else "fetch", *([] if swaps else ["swap"])]


def _answers(config: ServeConfig, ray_address: str | None) -> Answered:
    """Answer every sample under every variant, unless it has been, or a server elsewhere does."""
    if config.engine.kind == "openai":
        return unanswered(make_plan(config.answers()[0]))
    plan: Plan | None = None
    for run in config.answers():
        plan = make_plan(run)
        with running(run, ray_address) as pipeline:
            pipeline.precompute()
            pipeline.evaluate()
    assert plan is not None, "a run file has experiments"
    records = RunFolder(Path(config.output) / "answers").records("records")
    variants = dict.fromkeys(v for one in config.experiments for v in config.variants_of(one))
    return answered(plan, records, list(variants))


@contextmanager
def _server(
    config: ServeConfig, known: Answered, costs: Costs | None, ray_address: str | None
) -> Iterator[Server]:
    if config.time.mode == "virtual":
        assert costs is not None, "checked by the run file's form"
        yield VirtualServer(config, costs)
        return
    if isinstance(config.engine, OpenAIEngine):
        with Session(config) as session:
            yield OpenAIServer(config, config.engine, session)
        return
    if isinstance(config.engine, RayEngine):
        # Imported here so that other commands run without Ray installed.
        from encodeonce.jobs.serve_ray import ray_server

        with ray_server(config, config.engine, known, ray_address) as replicas:
            yield replicas
        return
    on_miss: OnMiss = "encode" if config.features == "encode" else "error"
    with (
        Session(config, on_miss=on_miss) as session,
        closing(ModelServer(config, known, session, costs)) as server,
    ):
        yield server


def _served_answers(config: ServeConfig, known: Answered, cells: Sequence[ServedCell]) -> Answered:
    """Return the samples with the texts that a server wrote."""
    texts = [
        (asked, request.text)
        for one in cells
        for asked, request in zip(one.workload.asked, one.outcome.requests, strict=True)
    ]
    return with_served(known, config.experiments[0].variant, texts)


def _serve(grid: Grid) -> list[ServedCell]:
    """Return all cells, saying which one is served."""
    with PlainConsole(stderr=True).status("serving") as status:
        return list(grid.run(lambda name: status.update(plain_text(f"serving: {name}"))))
