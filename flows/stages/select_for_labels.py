"""Stage run: clustered frames and the labels so far to the frames that are worth labelling next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.embedding import vectors_in_order
from curation.labelling import ChosenFrame, GivenLabels, check_classes, read_given
from curation.selection import SELECT_VERSION, LabelChoice, SampleConfig, choose_for_labels, select_frames
from curation.sources import scratch_folder
from evaluation.uncertainty import label_uncertainty
from flows.config import RunConfig
from flows.job import Job
from flows.runners import say
from flows.stages.holdout import read_held_out
from flows.stages.label_folder import LabelFolder, is_folder_of, refuse_other_folder, write_evaluation_set, write_label_folder
from flows.stages.order import STAGES, run_stages
from flows.stages.stage import Made, needed
from warehouse import queries
from warehouse.holdout import known_videos_state, latest_holdout, num_not_compared
from warehouse.identified import write_with_id
from warehouse.labelling import StoredFrame, candidate_frames, export_frames, unknown_frames
from warehouse.lake import Lake, LakeError
from warehouse.lineage import RunPlan, completed_run_id, plan_run
from warehouse.records import Artifact
from warehouse.store import content_id

__all__ = ["LabelRequest", "run_select_for_labels"]

VERSION = 2
"""raise when the same settings would give another choice or other files"""

MOST_COMPARED = 20_000
"""candidates that are clustered anew and compared, a balanced sample where there are more: 100 MB of vectors"""

_TREE = ("holdout", "similarity", "dedup", "cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequest:
    """What is asked for."""

    size: int
    """frames to choose; 0 only makes the evaluation set of the labels given"""
    given: tuple[Path, ...] = ()
    """files of labels"""
    classes: tuple[str, ...] = ()
    """that a frame can have, for labelling tools; those of the labels given unless named"""
    max_per_patient: int | None = None


def run_select_for_labels(job: Job, *, encoder_id: str, config: RunConfig, request: LabelRequest, out: Path | None) -> Path:
    """Choose frames for labelling and write their folder; the same request of the same lake is one choice, and its folder is left as it is.

    Args:
        job: the lake and the runner.
        encoder_id: whose embeddings to use.
        config: hold-out, deduplication, clusters and seed, as `curate` takes them; what is recorded with them is not done again.
        request: what is asked for.
        out: folder to make; LAKE/labels/ID unless given, where ID is of the choice.

    Returns:
        The folder.

    Raises:
        ValueError: a file of labels cannot be read, a class has no usable name, or no frame is left to choose.
        LakeError: no frame is embedded, or the labels are of another lake.
        FileExistsError: the folder holds something else.
    """
    request = replace(request, classes=check_classes(request.classes))
    labels = read_given(request.given)
    _tell(labels)
    known = _known(job.lake, labels)
    if not request.size:
        groups = sorted((frame_id, frame.group) for frame_id, frame in known.items())
        folder = out or job.lake.root / "labels" / content_id([_settings_of(labels), groups])[:16]
        if out is None and folder.is_dir():
            say(f"select-for-labels: the evaluation set is there already, in {folder}")
            return folder
        return write_evaluation_set(job.lake, folder, labels, known)
    made = _clustered(job, config, encoder_id)
    plan = _plan(job.lake, config, made, request, labels)
    folder = out or job.lake.root / "labels" / plan.stage_key[:16]
    is_there = is_folder_of(folder, plan)
    if is_there and completed_run_id(job.lake, plan):
        say(f"select-for-labels: the frames are chosen already, in {folder}")
        return folder
    if not is_there:
        refuse_other_folder(folder)
    with scratch_folder(job.lake.root / "staging" / plan.stage) as work, job.record(plan) as run:
        frames, selection, num_candidates = _choose(job.lake, made, config, request, labels, known, work)
        contents = LabelFolder(frames=frames, labels=labels, known=known, classes=request.classes, num_candidates=num_candidates)
        write_label_folder(job.lake, folder, plan, contents)
        run.named_rows("selections", "selection_id", selection.artifact_id, work / "selection.parquet")
        run.output(selection)
        run.metrics.update(num_candidates=num_candidates, num_selected=len(frames), num_labelled=len(labels.labels.keys() & known.keys()))
    say(f"select-for-labels: {len(frames)} of {num_candidates} frames, in {folder}; it shows frames, keep it as you keep the lake")
    return folder


def _tell(labels: GivenLabels) -> None:
    """Say what the files of labels hold, so that labels which were not understood are missed."""
    if labels.labels or labels.unusable:
        said = f"{len(labels.labels)} labelled, {len(labels.unusable)} not labellable, {labels.num_open} open"
        say(f"select-for-labels: {said}; classes {', '.join(labels.classes) or 'none'}")
    for written, read in labels.respelled.items():
        say(f"select-for-labels: the label {written!r} is read as {read!r}")


def _known(lake: Lake, labels: GivenLabels) -> dict[str, StoredFrame]:
    """The given frames that are kept by now."""
    ids = [*labels.labels, *labels.unusable]
    if unknown := unknown_frames(lake, ids):
        raise LakeError(
            f"{len(unknown)} of {len(ids)} labels are of frames that {lake.root} never had, such as {unknown[0]}; give labels of its frames"
        )
    known = candidate_frames(lake, ids)
    if gone := len(labels.labels.keys() - known.keys()):
        say(f"select-for-labels: {gone} of {len(labels.labels)} labelled frames are not kept any more and are left out")
    return known


def _clustered(job: Job, config: RunConfig, encoder_id: str) -> Made:
    """The stages of `curate` up to the tree; what is recorded is not done again. What the lake holds out stays held out."""
    held_out = read_held_out(config.holdout) if config.holdout.holdout else None
    recorded = None if held_out else _recorded_holdout(job.lake, encoder_id)
    made = Made(encoder_id=encoder_id, parts=queries.embedding_parts(job.lake, encoder_id), held_out=held_out, holdout=recorded)
    return run_stages([stage for stage in STAGES if stage.name in _TREE], job, config, made)


def _recorded_holdout(lake: Lake, encoder_id: str) -> Artifact | None:
    """The lake's latest hold-out, which holds where the command names none.

    Raises:
        LakeError: frames came since that were not compared with what is held out.
    """
    latest = latest_holdout(lake)
    if latest is None:
        return None
    if num_new := num_not_compared(lake, latest, encoder_id):
        raise LakeError(
            f"{num_new} frames of {lake.root} may have come after its latest hold-out ({latest.name}) and were not compared with it; "
            "give the same --holdout again"
        )
    say(f"select-for-labels: the lake's latest hold-out stays held out: {latest.name}, {latest.artifact.num_rows} frames")
    if known_videos_state(lake) != latest.videos:
        say("select-for-labels: names or patients of videos have changed since that hold-out; give the same --holdout again to follow them")
    return latest.artifact


def _plan(lake: Lake, config: RunConfig, made: Made, request: LabelRequest, labels: GivenLabels) -> RunPlan:
    settings = {
        **_settings_of(labels),
        "size": request.size,
        "classes": request.classes,
        "max_per_patient": request.max_per_patient,
        "most_compared": MOST_COMPARED,
        "select_version": SELECT_VERSION,
        "metadata": queries.metadata_state(lake),  # whose frames these are stands in the table
        "seed": config.seed,
    }
    inputs = [needed(made.tree), needed(made.dedup), *([made.placement] if made.placement else [])]
    if labels.labels or labels.unusable:
        digest = str(settings["labels"])
        inputs.append(Artifact(artifact_id=digest, kind="labels", uri=f"labels/{digest[:16]}", num_rows=len(labels.labels)))
    return plan_run(stage="select_for_labels", version=VERSION, config=settings, inputs=inputs, seed=config.seed)


def _settings_of(labels: GivenLabels) -> dict[str, object]:
    """Labels as a part of a choice's identity: by what they say, not by the files that say it."""
    return {"labels": content_id([sorted(labels.labels.items()), labels.unusable])}


def _choose(
    lake: Lake, made: Made, config: RunConfig, request: LabelRequest, labels: GivenLabels, known: dict[str, StoredFrame], work: Path
) -> tuple[tuple[ChosenFrame, ...], Artifact, int]:
    """The chosen frames, their selection and the number of candidates."""
    clustered, pool_file = work / "clustered.parquet", work / "pool.parquet"
    num_candidates = queries.export_clustered(lake, needed(made.tree).artifact_id, needed(made.dedup).artifact_id, clustered)
    most = max(MOST_COMPARED, 4 * request.size)
    select_frames(clustered, lake_root=lake.root, out=pool_file, size=most, config=SampleConfig(), seed=config.seed)
    pool = pq.read_table(pool_file, columns=["frame_id", "cluster_id"])
    cluster_of = dict(zip(pool["frame_id"].to_pylist(), pool["cluster_id"].to_pylist(), strict=True))
    label_of = {frame_id: labels.labels[frame_id] for frame_id in labels.labels.keys() & known.keys()}
    ids = sorted(cluster_of.keys() | label_of.keys())
    stored = candidate_frames(lake, ids)
    choice = _choice(ids, _vectors(lake, made, ids, work), stored, cluster_of, label_of, labels, request, config.seed)
    if not len(choice.rows):
        raise ValueError(f"all {num_candidates} candidates of {lake.root} have a label, so there is none to choose; ingest more videos")
    frames = tuple(
        ChosenFrame(
            position=position,
            cluster_id=cluster_of[frame.frame_id],
            reason=reason,
            score=score,
            **{name: getattr(frame, name) for name in ("frame_id", "video_id", "group", "pts_us", "width", "height")},
        )
        for position, (frame, reason, score) in enumerate(
            zip([stored[ids[row]] for row in choice.rows], choice.reasons, choice.scores.tolist(), strict=True), start=1
        )
    )
    rows = {
        "frame_id": pa.array([frame.frame_id for frame in frames], pa.string()),
        "rank": pa.array(range(len(frames)), pa.int64()),
        "cluster_id": pa.array([frame.cluster_id for frame in frames], pa.int32()),
    }
    selection_id = write_with_id(work / "selection.parquet", "selections", "selection_id", rows)
    selection = Artifact(artifact_id=selection_id, kind="selection", uri="tables/main/selections", num_rows=len(frames))
    return frames, selection, num_candidates


def _vectors(lake: Lake, made: Made, ids: Sequence[str], work: Path) -> npt.NDArray[np.float32]:
    """(n, d) in the order of the ids, which are sorted."""
    export_frames(lake, ids, work / "frames.parquet")
    pieces = vectors_in_order(work / "frames.parquet", made.parts, lake_root=lake.root)
    return np.concatenate([piece.astype(np.float32) for piece in pieces])


def _choice(
    ids: Sequence[str],
    vectors: npt.NDArray[np.float32],
    stored: dict[str, StoredFrame],
    cluster_of: dict[str, int],
    label_of: dict[str, str],
    labels: GivenLabels,
    request: LabelRequest,
    seed: int,
) -> LabelChoice:
    is_labelled = np.array([frame_id in label_of for frame_id in ids])
    offered = cluster_of.keys() - set(labels.unusable)
    said = [label_of[frame_id] for frame_id in ids if frame_id in label_of]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(stored[frame_id].group for frame_id in ids))}
    return choose_for_labels(
        vectors,
        request.size,
        is_labelled=is_labelled,
        uncertainty=label_uncertainty(vectors[is_labelled], said, vectors),
        seed=seed,
        may_choose=np.array([frame_id in offered for frame_id in ids]),
        groups=np.array([numbers[stored[frame_id].group] for frame_id in ids]),
        max_per_group=request.max_per_patient,
    )
