"""``encodeonce train``: adapters, and what KV methods with weights of their own need."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from encodeonce.harness.report.adapter_page import write_adapter_report
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.report.training_page import write_training_report
from encodeonce.harness.run.check_device import check_device
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.training.adapter.config import TrainAdapterConfig
from encodeonce.harness.training.adapter.train import read_facts, train_adapter
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.compressor.train import train_compressor
from encodeonce.harness.training.config import TrainConfig
from encodeonce.harness.training.folder import State, TrainingFolder
from encodeonce.harness.training.ranks import Ranks, joined
from encodeonce.harness.training.trainer import OnStep
from encodeonce.jobs.cli.progress_bar import progress_bar
from encodeonce.jobs.cli.run_options import Output, RayAddress
from encodeonce.jobs.cli.user_errors import user_errors
from encodeonce.jobs.execution.select import uses_ray
from encodeonce.models.kv.trained.header import read_header

train_app = typer.Typer(
    help="Train LoRA adapters, and what some KV methods need, from stored features.",
    no_args_is_help=True,
)
console = PlainConsole()

Config = TypeVar("Config", bound=TrainConfig)


@train_app.command()
def compressor(
    path: Annotated[
        Path,
        typer.Argument(metavar="TRAIN.yaml", help="Run file: model, questions, store, compressor."),
    ],
    output: Output = None,
    ray_address: RayAddress = None,
) -> None:
    """Distil a compressor for the KV method `ccm` from the full cache. Repeat it to go on.

    torchrun and `accelerate launch` start it on several devices of a machine.
    """
    with user_errors():
        config = _load(path, TrainCompressorConfig, output)
        if not _trained(train_compressor, path, config, ray_address):
            return
        header, state = read_header(config.output), TrainingFolder(config.output).state()
        page = write_training_report(config.output, header, state)
        _say(config, state)
        console.print(f"report: {page}", soft_wrap=True)


@train_app.command()
def adapter(
    path: Annotated[
        Path, typer.Argument(metavar="TRAIN.yaml", help="Run file: model, questions, store, LoRA.")
    ],
    output: Output = None,
    ray_address: RayAddress = None,
) -> None:
    """Train a LoRA adapter on right answers, in peft's format. Repeat it to go on.

    torchrun and `accelerate launch` start it on several devices of a machine.
    """
    with user_errors():
        config = _load(path, TrainAdapterConfig, output)
        if not _trained(train_adapter, path, config, ray_address):
            return
        facts, state = read_facts(config.output), TrainingFolder(config.output).state()
        page = write_adapter_report(config.output, facts, state)
        console.print(f"{config.output}: step {state.best_step} of {state.step} is kept")
        for title, one in facts["held_out"].items():
            console.print(
                f"  {title}: {100 * one['accuracy']:.1f} % of held-out questions right, "
                f"{100 * facts['base'][title]['accuracy']:.1f} % without the adapter"
            )
        console.print(f"use it in a run file: adapters: [none, {config.output}]", soft_wrap=True)
        console.print(f"report: {page}", soft_wrap=True)


def _load(path: Path, kind: type[Config], output: Path | None) -> Config:
    config = load_run_file(path, kind)
    if output is not None:
        config = config.model_copy(update={"output": output.absolute()})
    return config


def _trained(
    train: Callable[[Config, Ranks, OnStep], object],
    path: Path,
    config: Config,
    ray_address: str | None,
) -> bool:
    """Train to the end, and show how far it is; return whether this process speaks of it."""
    with _shown() as on_step:
        if uses_ray(config.workers, ray_address):
            # Imported here so that one machine can train without Ray installed.
            from encodeonce.jobs.execution.ray_train import train_on_ray

            train_on_ray(train, config, ray_address, on_step)
            return True
        check_device(path, config)
        with joined() as ranks:
            train(config, ranks, on_step)
        return ranks.is_first


@contextmanager
def _shown() -> Iterator[OnStep]:
    """Show a bar; yield the function that moves it."""
    said = ["loading"]
    with progress_bar("training", lambda _: said[0], at_first=said[0]) as on_progress:

        def on_step(done: int, total: int, words: str) -> None:
            said[0] = f"step {done} of {total} · {words}"
            on_progress(done, total)

        yield on_step


def _say(config: TrainCompressorConfig, state: State) -> None:
    figures = state.best()["held_out"]
    ours, random = figures["ccm"], figures["random"]
    console.print(f"{config.output}: step {state.best_step} of {state.step} is kept")
    for name, one in (("ccm", ours), ("random", random), ("full", figures["full"])):
        kl = "" if one["kl"] is None else f", KL to full {one['kl']:.4f}"
        console.print(
            f"  {name}: {100 * one['accuracy']:.1f} % of held-out questions right, "
            f"{100 * one['kept']:.1f} % of bytes kept{kl}"
        )
    spec = config.compressor
    console.print(
        f"use it in a run file: kv: [{{method: ccm, compression_factor: {spec.factor}, scope: "
        f"{spec.scope}, options: {{path: {config.output}}}}}]",
        soft_wrap=True,
    )
