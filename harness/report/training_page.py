"""The report of a training: how the loss fell, and what the compressor keeps of the answers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from encodeonce.harness.report.charts.plots import Axis, Point, Series, line_chart
from encodeonce.harness.report.numbers import human_count, percent
from encodeonce.harness.report.section import Figure, Section, Table
from encodeonce.harness.report.tiles import Tile
from encodeonce.harness.report.write import write_pages
from encodeonce.harness.training.folder import State
from encodeonce.models.kv.trained.header import CompressorHeader

_NAMES = {"full": "full cache", "ccm": "this compressor", "random": "random choice"}
Entry = dict[str, Any]
"""One validation."""


def write_training_report(folder: Path, header: CompressorHeader, state: State) -> Path:
    """Write a training's report into its folder; return the page.

    Args:
        folder: of the training.
        header: of the compressor that is kept.
        state: where the training ended.

    Raises:
        OutputError: they cannot be written.
    """
    _, page = write_pages(
        folder,
        f"training of a KV compressor: {folder.name}",
        [_result(state), _course(state), _recipe(header)],
        tiles=list(_tiles(header, state)),
        figures=list(_figures(state)),
        data={"compressor": header.model_dump(mode="json"), "history": state.history},
    )
    return page


def _tiles(header: CompressorHeader, state: State) -> Iterator[Tile]:
    figures = state.best()["held_out"]
    ours, full = figures["ccm"], figures["full"]
    words = f"full cache {percent(full['accuracy'], 1)}"
    yield Tile(label="accuracy, held out", value=percent(ours["accuracy"], 1), words=words)
    words = f"{header.factor} neighbouring entries become one"
    yield Tile(label="bytes kept", value=percent(ours["kept"], 1), words=words)
    if ours["kl"] is not None:
        words = f"nats; random choice {figures['random']['kl']:.3f}"
        yield Tile(label="KL to the full cache", value=f"{ours['kl']:.3f}", words=words)
    words = f"of {human_count(state.step, 'step')}; the best by validation"
    yield Tile(label="kept", value=f"step {state.best_step}", words=words)


def _result(state: State) -> Section:
    rows = [
        (
            _NAMES[name],
            percent(one["accuracy"], 1),
            _nats(one["kl"]),
            "" if one["agreement"] is None else percent(one["agreement"], 1),
            percent(one["kept"], 1),
        )
        for name, one in state.best()["held_out"].items()
    ]
    columns = ("cache", "accuracy", "KL, nats", "token agreement", "kept")
    return Section(
        title="Held-out questions",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            "KL and agreement: how the cache continues the full cache's own answers, "
            "teacher-forced. 'Random choice' keeps as many entries of the same prompts. 'Kept' is "
            "the share of the bytes of the prompt's keys and values.",
        ),
    )


def _course(state: State) -> Section:
    rows = [
        (
            str(entry["step"]),
            f"{entry['loss']:.4f}",
            f"{entry['train_kl']:.4f}",
            ""
            if entry["held_out"]["ccm"]["kl"] is None
            else f"{entry['held_out']['ccm']['kl']:.4f}",
            percent(entry["held_out"]["ccm"]["accuracy"], 1),
            f"{entry['rate']:.2g}",
        )
        for entry in state.history
    ]
    columns = ("step", "loss", "KL, training", "KL, held out", "accuracy, held out", "rate")
    return Section(
        title="Course",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=("Loss and KL of training are means over the steps since the last validation.",),
        is_detail=True,
    )


def _recipe(header: CompressorHeader) -> Section:
    facts = header.training
    data, optim = facts["data"], facts["optim"]
    media = facts["num_media"]
    lines = (
        f"model: {header.model}, weight variant {header.weights}",
        f"merging: {header.factor} entries, nets {header.nets}, text {header.text}, skip "
        f"{header.skip}, positions {header.positions}, segments {header.segments}",
        f"scope: {header.scope}",
        f"media: {media['training']} for training, {media['held_out']} held out"
        + ("; units recombined" if data["recombine_units"] else ""),
        f"answers: {data['answer']}; questions a prefix: {data['questions_per_prefix']}",
        f"loss: {facts['loss']['name']}; Adam, rate {optim['lr']:g}, {optim['schedule']}, "
        f"{human_count(optim['prefixes_per_step'], 'lesson')} a step, seed "
        f"{optim['seed']}",
    )
    return Section(title="Recipe", bullets=lines)


def _figures(state: State) -> Iterator[Figure]:
    yield _quality(state)
    history = state.history
    if len(history) < 2:
        return
    steps = Axis(title="step", low=0)
    loss = curve("training", history, lambda entry: entry["loss"])
    title = "Loss"
    svg = line_chart([loss], x=steps, y=Axis(title="loss, nats", low=0), title=title)
    yield Figure(title=title, svg=svg, words="Mean over the steps since the last validation.")
    known = [entry for entry in history if entry["held_out"]["ccm"]["kl"] is not None]
    if known:
        title = "Divergence from the full cache"
        curves = [
            curve("training", known, lambda entry: entry["train_kl"]),
            curve("held out", known, lambda entry: entry["held_out"]["ccm"]["kl"]),
            curve(
                "held out, random choice", known, lambda entry: entry["held_out"]["random"]["kl"]
            ),
        ]
        svg = line_chart(curves, x=steps, y=Axis(title="KL, nats", low=0), title=title)
        yield Figure(title=title, svg=svg, words="Teacher-forced, over the answers' tokens.")
    title = "Accuracy on held-out questions"
    curves = [
        curve(words, history, lambda entry, name=name: 100 * entry["held_out"][name]["accuracy"])
        for name, words in _NAMES.items()
    ]
    y = Axis(title="right, %", low=0, high=100)
    svg = line_chart(curves, x=steps, y=y, title=title)
    yield Figure(title=title, svg=svg, words="Each validation asks the same questions.")


def _nats(kl: float | None) -> str:
    return "" if kl is None else f"{kl:.4f}"


def _quality(state: State) -> Figure:
    """Return accuracy against bytes, at the step that is kept."""
    title = "Quality against bytes"
    series = [
        Series(
            name=words,
            points=(Point(x=100 * one["kept"], y=100 * one["accuracy"]),),
        )
        for name, words in _NAMES.items()
        for one in [state.best()["held_out"][name]]
    ]
    x = Axis(title="bytes kept, %", low=0, high=100)
    y = Axis(title="right, %", low=0, high=100)
    svg = line_chart(series, x=x, y=y, title=title)
    return Figure(title=title, svg=svg, words="Held-out questions, at the step that is kept.")


def curve(name: str, history: Sequence[Entry], value: Any) -> Series:
    """Return a figure of each validation over the steps."""
    points = (Point(x=entry["step"], y=value(entry)) for entry in history)
    return Series(name=name, points=tuple(points))
