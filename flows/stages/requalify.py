"""Stage run: stored scores to new verdicts, without decoding."""

from __future__ import annotations

import json
import shutil

from curation.filters import installed_filters, score_names, settings_of
from curation.ingest import REQUALIFY_VERSION, RequalifyConfig, device_thresholds, percentiles, requalify_part, usable_scores
from flows.job import Job
from flows.runners import say, successes, track
from warehouse import requalification
from warehouse.artifacts import artifact_of
from warehouse.lineage import plan_run
from warehouse.records import Artifact
from warehouse.store import content_id

__all__ = ["run_requalify"]

FRAMES_PER_PART = 250_000

_COUNTS = ("num_frames", "num_kept", "num_brought_back", "num_taken_out", "num_not_stored")


def run_requalify(job: Job, *, config: RequalifyConfig) -> str:
    """Decide every current frame anew from its stored scores; returns the id of the run whose verdicts now count.

    Where those were made from the same frames with the same thresholds, nothing is done. A run that was done before, but of which others
    have since been made, is done again: the latest one counts.
    """
    settings = {**settings_of(config), "frames": requalification.scored_frames(job.lake)}
    latest = requalification.latest_requalification(job.lake)
    plan = plan_run(
        stage="requalify",
        version=REQUALIFY_VERSION,
        config={**settings, "previous": latest[0] if latest else None},
        inputs=[artifact_of(pack) for pack in requalification.current_packs(job.lake)],
    )
    if latest is not None and {**latest[1], "previous": None} == {**json.loads(plan.config), "previous": None}:
        say("requalify: every frame has been decided by these thresholds already")
        return latest[0]
    work = job.lake.root / "staging" / "requalify" / plan.run_id
    shutil.rmtree(work, ignore_errors=True)  # what a killed run left; exporting adds to a folder and replaces nothing
    with job.record(plan) as run:
        exported = requalification.export_scores(job.lake, work / "scores", scores=score_names(), frames_per_part=FRAMES_PER_PART)
        parts = [str(part) for part in exported]
        by_device = {}
        if asked := percentiles(config):
            found = list(successes(job.runner.map(usable_scores, parts, out=str(work / "usable"), config=config), stage="requalify"))
            by_device = device_thresholds(requalification.device_percentiles(job.lake, found, asked), config)
        results = job.runner.map(requalify_part, parts, out=str(work / "verdicts"), config=config, by_device=by_device)
        decided = list(track(successes(results, stage="requalify"), description="decide frames", total=len(parts)))
        run.parts("requalified", [work / "verdicts" / part.path for part in decided], run_id=run.run_id)
        total = {name: sum(getattr(part, name) for part in decided) for name in _COUNTS}
        run.output(Artifact(artifact_id=content_id(settings), kind="requalification", uri="tables/main/requalified"))
        run.metrics.update(total)
    shutil.rmtree(work)
    if unknown := {each.name for each in installed_filters()} - set(job.lake.added_scores("frames")):
        say(f"requalify: no frame has the scores {', '.join(sorted(unknown))}, so nothing is dropped for them; ingest the videos again")
    say(
        f"requalify: {total['num_kept']} of {total['num_frames']} frames are kept; of those that ingest had dropped "
        f"{total['num_brought_back']} came back, of those that it had kept {total['num_taken_out']} were taken out"
    )
    if by_device:
        say(f"requalify: {len(by_device)} devices have thresholds of their own")
    if total["num_not_stored"]:
        say(
            f"requalify: {total['num_not_stored']} frames would be kept, but their pictures were not stored: they need decoding; "
            "ingest their videos again with these thresholds"
        )
    return plan.run_id
