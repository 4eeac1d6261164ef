"""What was run: the first section of a run's report."""

from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.results.summary import Summary
from encodeonce.models.engine_spec import TRANSFORMERS, EngineSpec


def run_section(summary: Summary) -> Section:
    """Return the section that says what was run."""
    run = summary["run"]
    config = run["config"]
    frames = config["frames"]
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
                ("frames", ", ".join(f"{k} {v}" for k, v in frames.items() if v is not None)),
                *_readers(summary),
                *_engine(config),
                ("features", f"taken at the {config['vision']['tap']}"),
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
