"""Ingests of small films, and what the lake says of them."""

from __future__ import annotations

from pathlib import Path

from curation.ingest import IngestConfig
from flows.job import Job
from flows.runners.runners import SerialRunner
from flows.stages.ingest import IngestSummary, run_ingest
from tests.helpers.films import tissue, write_video
from warehouse.lake import Lake

NOW = IngestConfig(text="off", settle_s=0)


def ingest(lake: Lake, *inputs: Path | str, config: IngestConfig = NOW) -> IngestSummary:
    return run_ingest(Job(lake=lake, runner=SerialRunner()), [str(name) for name in inputs], config=config)


def film(path: Path, seed: int = 0) -> Path:
    return write_video(path, [tissue(seed), tissue(seed + 1)])


def uris(lake: Lake) -> dict[str, str]:
    """What is ingested and what is rejected, where."""
    found = {row["uri"]: "video" for row in lake.rows("SELECT uri FROM current_videos")}
    return found | {row["uri"]: row["reason"] for row in lake.rows("SELECT uri, reason FROM rejects")}


def counts(summary: IngestSummary) -> tuple[int, int, int, int, int]:
    return summary.num_known, summary.num_moved, summary.num_left, summary.num_ingested, summary.num_rejected
