"""Packs the units of a run file into adapters, and compares them with what needs no packing."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encodeonce.cache_store import durable
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.output_error import lock, writing
from encodeonce.harness.run.plan import Plan, make_plan
from encodeonce.harness.training.folder import TrainingFolderError
from encodeonce.harness.training.fusion.config import FuseConfig
from encodeonce.harness.training.fusion.packing import Decision, Mark, Packed, pack
from encodeonce.harness.training.fusion.work import (
    BASE_NAME,
    Checks,
    FusionWork,
    OnWork,
    as_json,
)
from encodeonce.harness.training.media import require_apart
from encodeonce.harness.workers.session import Session
from encodeonce.models.adapters.checkpoint import ADAPTER_FILES
from encodeonce.models.adapters.combining import WAYS
from encodeonce.models.decoder import PrefixDecoder

RESULT = "adapters.json"
"""Which adapter is for which unit: what ``adapters: {from: …}`` reads."""
LOG = "fusion.jsonl"
TABLE = "fusion.json"
ALONE, FUSED, ALL = "alone", "fused", "one for all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """What came of a fusion."""

    decisions: Sequence[Decision]
    adapters: Mapping[str, Packed]
    """By the names of their folders."""
    table: Mapping[str, Mapping[str, Mark]]
    """Marks by column (`BASE_NAME`, `ALONE`, `FUSED`, …) and unit."""

    @property
    def missed(self) -> list[str]:
        """The units whose floors their adapters miss."""
        return [name for name, mark in self.table[FUSED].items() if not mark.is_met]


def fuse_adapters(config: FuseConfig, on_work: OnWork) -> Fused:
    """Train adapters of units until each has one that keeps its floor, or misses it alone.

    Args:
        config: the run file.
        on_work: called with words about what is being done.

    Raises:
        ValueError: what is judged by is learnt from, data or model do not allow it, or the folder
            holds trainings with other settings.
    """
    with Session(config, config.on_miss) as session:
        plans = {unit.name: _plans(config, unit.name) for unit in config.units}
        _require_apart(plans, session)
        output = Path(config.output)
        with writing(output):
            output.mkdir(parents=True, exist_ok=True)
        with lock(output, TrainingFolderError):
            decoder = session.decoder_slot.put(config.weights)
            assert isinstance(decoder, PrefixDecoder)
            work = FusionWork(config, session, decoder, _checks(plans), on_work)
            fused = _fused(config, work, _ordered(config, work, plans))
            _write_table(output, fused)
    return fused


def _plans(config: FuseConfig, name: str) -> tuple[Plan, Plan]:
    """Return a unit's questions: those to learn from, and those that judge."""
    training = config.training([name], config.output, 1, 0).as_run()
    (unit,) = (one for one in config.units if one.name == name)
    check = unit.check.model_copy(update={"label": name})
    run: RunConfig = training.model_copy(update={"benchmarks": (check,), "limit": None})
    return make_plan(training), make_plan(run)


def _require_apart(plans: Mapping[str, tuple[Plan, Plan]], session: Session) -> None:
    """Refuse media of a check that any unit learns from: adapters are shared."""
    training = [group for plan, _ in plans.values() for group in plan.groups]
    judging = [group for _, plan in plans.values() for group in plan.groups]
    require_apart(training, judging, session)


def _checks(plans: Mapping[str, tuple[Plan, Plan]]) -> Checks:
    return Checks(
        groups=[group for _, plan in plans.values() for group in plan.groups],
        benchmarks={name: plan.benchmarks[name] for name, (_, plan) in plans.items()},
        sha256={name: plan.samples_sha256 for name, (_, plan) in plans.items()},
    )


def _ordered(
    config: FuseConfig, work: FusionWork, plans: Mapping[str, tuple[Plan, Plan]]
) -> list[str]:
    names = [unit.name for unit in config.units]
    if config.order == "hardest_first":
        base = work.marks(BASE_NAME, names)
        return sorted(names, key=lambda name: base[name].accuracy)
    if config.order == "size_first":
        return sorted(names, key=lambda name: -plans[name][0].num_samples)
    return names


def _fused(config: FuseConfig, work: FusionWork, order: Sequence[str]) -> Fused:
    names = [unit.name for unit in config.units]
    table: dict[str, Mapping[str, Mark]] = {BASE_NAME: work.marks(BASE_NAME, names)}
    singles = {
        unit.name: work.train(None, [unit.name])
        for unit in config.units
        if config.compare or unit.floor.of == "alone"
    }
    alone = {name: work.marks(single, [name])[name] for name, single in singles.items()}
    for unit in config.units:
        own = alone.get(unit.name)
        floor = unit.floor.value(
            table[BASE_NAME][unit.name].accuracy, None if own is None else own.accuracy
        )
        if not 0 < floor <= 1:
            raise ValueError(
                f"units: the floor of {unit.name!r} comes to {floor:.3f}; a floor is above 0 and "
                "at most 1"
            )
        work.floors[unit.name] = floor
    table[BASE_NAME] = work.marks(BASE_NAME, names)
    if alone:
        table[ALONE] = {name: work.marks(singles[name], [name])[name] for name in singles}
    decisions: list[Decision] = []

    def on_decision(decision: Decision) -> None:
        decisions.append(decision)
        _write_log(Path(config.output), decisions)

    packed = pack(order, work, on_decision)
    adapters = {f"fused-{number}": one for number, one in enumerate(packed, 1)}
    _write_result(Path(config.output), work, adapters)
    marks = {name: one.marks[name] for one in packed for name in one.members}
    table[FUSED] = {name: marks[name] for name in names}
    if config.compare and len(names) > 1:
        table |= _compared(config, work, singles)
    return Fused(decisions=decisions, adapters=adapters, table=table)


def _compared(
    config: FuseConfig, work: FusionWork, singles: Mapping[str, str]
) -> dict[str, Mapping[str, Mark]]:
    """Return marks of one adapter for all units: trained, and merged of single ones."""
    names = [unit.name for unit in config.units]
    found: dict[str, Mapping[str, Mark]] = {ALL: work.marks(work.train_for_all(), names)}
    for how in WAYS:
        # Weights that sum to 1 and weights of 1: neither is the better one for all adapters.
        for weight in (1.0, 1 / len(names)):
            merged = work.merge([singles[name] for name in names], how, weight)
            found[merged] = work.marks(merged, names)
    return found


def _write_log(output: Path, decisions: Sequence[Decision]) -> None:
    lines = [
        {
            "unit": one.unit,
            "members": list(one.members),
            "adapter": one.adapter,
            "marks": {name: as_json(mark) for name, mark in one.marks.items()},
            "outcome": one.outcome,
        }
        for one in decisions
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with writing(output / LOG):
        durable.replace(text.encode(), output / LOG, output)


def _write_result(output: Path, work: FusionWork, adapters: Mapping[str, Packed]) -> None:
    """Put each adapter into a folder of its own, and say which unit it is for."""
    with writing(output):
        for name, one in adapters.items():
            folder = output / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for file in ADAPTER_FILES:
                shutil.copyfile(work.folder(one.adapter) / file, folder / file)
            (folder / "README.md").write_text(_card(one), encoding="utf-8")
        content = {
            "adapters": {
                name: {"path": name, "units": list(one.members)} for name, one in adapters.items()
            },
            "units": {unit: name for name, one in adapters.items() for unit in one.members},
        }
        text = json.dumps(content, indent=2) + "\n"
        durable.replace(text.encode(), output / RESULT, output)


def _card(packed: Packed) -> str:
    rows = "\n".join(
        f"| {name} | {100 * mark.accuracy:.1f} % | {100 * mark.floor:.1f} % | "
        f"{'yes' if mark.is_met else 'no'} | {mark.num_questions} |"
        for name, mark in packed.marks.items()
    )
    return f"""---
library_name: peft
---

# A LoRA adapter for {", ".join(packed.members)}

Packed by `encodeonce fuse adapters`; how it was trained is in `trainings/{packed.adapter}`.

| unit | accuracy | floor | met | questions |
|---|---:|---:|---|---:|
{rows}

Questions are about media that no unit learnt from.
"""


def _write_table(output: Path, fused: Fused) -> None:
    content: dict[str, Any] = {
        column: {name: as_json(mark) for name, mark in marks.items()}
        for column, marks in fused.table.items()
    }
    with writing(output / TABLE):
        text = json.dumps(content, indent=2) + "\n"
        durable.replace(text.encode(), output / TABLE, output)
