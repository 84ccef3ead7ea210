"""What manifests say of videos, recorded by content: one that lies in two places, or is listed under two patients, has several rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from curation.sources import Manifest
from flows.job import Job
from flows.runners import say
from warehouse.lineage import completed_run_id, plan_run
from warehouse.queries import contents_of_several
from warehouse.records import Artifact, VideoInfo
from warehouse.store import content_id

__all__ = ["record_manifest"]

MANIFEST_VERSION = 1

_COUNT_FOR: dict[Literal["patient", "site"], str] = {"patient": "hold-out, caps and erasure", "site": "caps and weights"}


def record_manifest(job: Job, manifest: Manifest, infos: Mapping[str, VideoInfo], ids: Mapping[str, str]) -> None:
    """Record what a manifest says of the videos whose content could be read; again only if it, or one of them, has changed.

    Args:
        job: whose lake.
        manifest: what was read.
        infos: what it says, by URI.
        ids: contents that could be read, by URI.
    """
    rows = [
        {"video_id": ids[uri], "uri": uri, "manifest_sha256": manifest.sha256, **asdict(info)}
        for uri, info in sorted(infos.items())
        if uri in ids
    ]
    source = Artifact(
        artifact_id=manifest.sha256, kind="manifest", uri=Path(manifest.path).as_uri(), sha256=manifest.sha256, num_rows=len(rows)
    )
    plan = plan_run(stage="manifest", version=MANIFEST_VERSION, config={"rows": content_id(rows)}, inputs=[source])
    if completed_run_id(job.lake, plan) is None:
        with job.record(plan) as run:
            run.rows("manifest_videos", rows)
            run.metrics["num_videos"] = len(rows)
    say(f"manifest: {manifest.path} names {len(infos)} videos, {len(rows)} of them readable")
    named = [row["video_id"] for row in rows]
    for kind, count_for in _COUNT_FOR.items():
        if shared := contents_of_several(job.lake, kind, named):
            say(
                f"manifest: {len(shared)} contents are listed under several {kind}s, and all of these count for {count_for}; "
                f"the first is at {', '.join(shared[0])}"
            )
