"""What was run: the first section of a run's report."""

from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.results.summary import Summary
from encodeonce.models.engine_spec import TRANSFORMERS, EngineSpec

_POLICIES = {
    "uniform_inclusive": "{num_frames} a clip, evenly spaced from the first to the last",
    "uniform_interior": "{num_frames} a clip, the middles of equal parts",
    "fps": "{fps:g} a second",
}
_TAPS = {
    "tower": "stored as the vision tower gives them",
    "projector": "stored as the projector gives them",
}


def run_section(summary: Summary) -> Section:
    """Return the section that says what was run."""
    run = summary["run"]
    config = run["config"]
    kernels = [("decode kernels", words)] if (words := _kernels(summary)) else []
    return Section(
        title="Run",
        table=Table(
            columns=("", ""),
            rows=(
                ("model", config["model"]["path"]),
                ("checkpoint", f"sha256 {run['identity']['checkpoint files'][:16]}"),
                ("precision", f"{config['model']['dtype']}, {config['model']['attention']}"),
                *kernels,
                ("frames", _frames(config["frames"])),
                *_readers(summary),
                *_engine(config),
                ("features", _TAPS.get(tap := config["vision"]["tap"], f"taken at the {tap}")),
                ("fingerprint", run["fingerprint"][:16]),
                ("software", ", ".join(f"{k} {v}" for k, v in run["versions"].items())),
            ),
        ),
    )


def _readers(summary: Summary) -> list[tuple[str, str]]:
    """Return what read the videos, with how many by each; runs of earlier versions do not know."""
    counts = (summary["precompute"] or {}).get("decoders")
    if not counts:
        return []
    names = [f"{name} ({human_count(count, 'video')})" for name, count in sorted(counts.items())]
    return [("videos read by", "; ".join(names))]


def _frames(sampling: Summary) -> str:
    """Say which frames of a clip the model saw: ``8 a clip, evenly spaced from first to last``."""
    if (words := _POLICIES.get(sampling["policy"])) is None:  # of a later version
        return ", ".join(f"{k} {v}" for k, v in sampling.items() if v is not None)
    most = sampling.get("max_frames")
    return words.format(**sampling) + (f", at most {most}" if most is not None else "")


def engine_of(config: Summary) -> Summary:
    """Return a run's engine; runs of earlier versions had but one."""
    found: Summary = config.get("engine") or TRANSFORMERS.model_dump(mode="json")
    return found


def _engine(config: Summary) -> list[tuple[str, str]]:
    """Return what decoded, where it was not transformers."""
    engine = engine_of(config)
    if engine["name"] == "transformers":
        return []
    usual = EngineSpec(name=engine["name"]).model_dump(mode="json")
    changed = [f"{name} {value}" for name, value in engine.items() if value != usual[name]]
    return [("engine", ", ".join([engine["name"], *changed]))]


def _kernels(summary: Summary) -> str:
    """Return what attended to caches while answers were decoded, e.g. ``prefix flash``."""
    found: dict[str, set[str]] = {}
    for one in summary["variants"]["weights"].values() if summary["evaluation"] else ():
        for part, names in one["kernels"].items():
            found.setdefault(part, set()).update(names)
    return ", ".join(f"{part} {' or '.join(sorted(names))}" for part, names in found.items())
