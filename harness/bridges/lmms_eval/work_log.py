"""Reports the cost of answering to lmms-eval and in its log."""

from lmms_eval.models.model_utils.gen_metrics import log_metrics
from lmms_eval.utils import eval_logger

from encodeonce.harness.bridges.requests import VariantConfig, Work
from encodeonce.harness.report.numbers import human_bytes, percent


def report_work(
    work: Work, config: VariantConfig, *, weights_bytes: int, rank: int, world_size: int
) -> None:
    """Log the work done, and add it to lmms-eval's results under ``throughput``.

    Args:
        work: the work done.
        config: which model answered, under which variant.
        weights_bytes: size of the language side.
        rank: number of this process.
        world_size: number of processes.
    """
    use, elapsed_s = work.cache, sum(work.seconds.values())
    hit_rate = use.num_hits / use.num_units if use.num_units else 1.0
    kept = work.kept_kv_bytes / work.kv_bytes if work.kv_bytes else 1.0
    eval_logger.info(
        f"encodeonce {config.variant.name}: {percent(hit_rate)} of "
        f"{use.num_units} units found in {config.cache.path}, {use.num_encoded} encoded; "
        f"{work.num_prefills} prefills for {work.num_answers} answers, {work.num_errors} errors; "
        f"{percent(kept, 1)} of keys and values kept; weights {human_bytes(weights_bytes)}; "
        "seconds: " + ", ".join(f"{stage} {value:.1f}" for stage, value in work.seconds.items())
    )
    # lmms-eval prefixes these with avg_: over the processes that log, and only the first does.
    log_metrics(
        total_elapsed_time=elapsed_s,
        total_gen_tokens=work.num_tokens,
        avg_speed=work.num_tokens / elapsed_s if elapsed_s else 0.0,
        additional_metrics={
            "feature_hit_rate": hit_rate,
            "feature_units": use.num_units,
            "feature_hits": use.num_hits,
            "units_encoded": use.num_encoded,
            "prefills": work.num_prefills,
            "answers": work.num_answers,
            "errors": work.num_errors,
            "kv_kept": kept,
            "rank": rank,
            "world_size": world_size,
        },
    )
