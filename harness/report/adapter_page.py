"""The report of an adapter's training: how the loss fell, and what held-out answers became."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from encodeonce.harness.report.charts.plots import Axis, line_chart
from encodeonce.harness.report.numbers import human_count, percent
from encodeonce.harness.report.section import Figure, Section, Table
from encodeonce.harness.report.tiles import Tile
from encodeonce.harness.report.training_page import curve
from encodeonce.harness.report.write import write_pages
from encodeonce.harness.training.folder import State

Facts = Mapping[str, Any]


def write_adapter_report(folder: Path, facts: Facts, state: State) -> Path:
    """Write a training's report into its folder; return the page.

    Args:
        folder: of the training.
        facts: how it was trained.
        state: where the training ended.

    Raises:
        OutputError: they cannot be written.
    """
    _, page = write_pages(
        folder,
        f"training of an adapter: {folder.name}",
        [_result(facts), _course(state), _recipe(facts)],
        tiles=list(_tiles(facts, state)),
        figures=list(_figures(state)),
        data={"adapter": dict(facts), "history": state.history},
    )
    return page


def _tiles(facts: Facts, state: State) -> Iterator[Tile]:
    for title, one in facts["held_out"].items():
        words = f"without the adapter {percent(facts['base'][title]['accuracy'], 1)}"
        yield Tile(label=f"{title}, held out", value=percent(one["accuracy"], 1), words=words)
    words = f"of {human_count(state.step, 'step')}; the best by validation"
    yield Tile(label="kept", value=f"step {state.best_step}", words=words)


def _result(facts: Facts) -> Section:
    rows = [
        (
            title,
            percent(facts["base"][title]["accuracy"], 1),
            percent(one["accuracy"], 1),
            f"{facts['base'][title]['loss']:.3f}",
            f"{one['loss']:.3f}",
        )
        for title, one in facts["held_out"].items()
    ]
    columns = ("questions", "base", "with the adapter", "loss, base", "loss, adapter")
    return Section(
        title="Held-out questions",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            "Of media that were not learnt from. Loss: cross entropy of the right answer's tokens, "
            "nats. Other skills of the base may have suffered: questions about them, as another "
            "benchmark here, would show it.",
        ),
    )


def _course(state: State) -> Section:
    titles = list(state.best()["held_out"])
    rows = [
        (
            str(entry["step"]),
            f"{entry['loss']:.4f}",
            *(percent(entry["held_out"][title]["accuracy"], 1) for title in titles),
            f"{entry['rate']:.2g}",
        )
        for entry in state.history
    ]
    return Section(
        title="Course",
        table=Table(columns=("step", "loss", *titles, "rate"), rows=tuple(rows)),
        sentences=("The loss is a mean over the steps since the last validation.",),
        is_detail=True,
    )


def _recipe(facts: Facts) -> Section:
    lora, optim, media = facts["lora"], facts["optim"], facts["num_media"]
    targets = lora["target_modules"]
    targets = targets if isinstance(targets, str) else ", ".join(targets)
    lines = (
        f"model: {facts['model']}, weight variant {facts['weights']}",
        f"LoRA: rank {lora['r']}, alpha {lora['alpha']:g}, dropout {lora['dropout']:g}, {targets}",
        f"media: {media['training']} for training, {media['held_out']} held out",
        f"Adam, rate {optim['lr']:g}, {optim['schedule']}, "
        f"{human_count(optim['prefixes_per_step'], 'lesson')} a step of "
        f"{human_count(facts['data']['questions_per_prefix'], 'question')}, seed {optim['seed']}",
    )
    return Section(title="Recipe", bullets=lines)


def _figures(state: State) -> Iterator[Figure]:
    history = state.history
    if len(history) < 2:
        return
    steps = Axis(title="step", low=0)
    titles = list(state.best()["held_out"])
    title = "Accuracy on held-out questions"
    curves = [
        curve(name, history, lambda entry, name=name: 100 * entry["held_out"][name]["accuracy"])
        for name in titles
    ]
    svg = line_chart(curves, x=steps, y=Axis(title="right, %", low=0, high=100), title=title)
    yield Figure(title=title, svg=svg, words="Each validation asks the same questions.")
    title = "Loss"
    curves = [curve("training", history, lambda entry: entry["loss"])] + [
        curve(f"held out: {name}", history, lambda e, name=name: e["held_out"][name]["loss"])
        for name in titles
    ]
    svg = line_chart(curves, x=steps, y=Axis(title="loss, nats", low=0), title=title)
    yield Figure(title=title, svg=svg, words="Training: mean since the last validation.")
