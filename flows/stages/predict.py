"""Stage run: a stored head of a score over videos and pictures, to tables, masks, overlaid videos and a page."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, cast

import cv2

from curation.ingest import SCRATCH, IngestConfig, opened_for_playback
from curation.sources import LeftForLater
from curation.video import UnreadableVideo
from evaluation.predict_config import PredictConfig
from evaluation.predictor import Predictor, open_predictor
from evaluation.report import Timeline, render_timeline
from evaluation.tasks import eight_bit
from flows.job import Job
from flows.runners import say
from flows.stages.checks import check_new_folder
from flows.stages.predict_frame import positive_classes
from flows.stages.predict_inputs import Failure, find_inputs
from flows.stages.predict_page import timeline_row
from flows.stages.predict_parts import PARTS, PredictedPart, claim_folder, discard_drawn, part_boxes, part_table, read_part, write_part
from flows.stages.predict_privacy import is_video_removed, privacy_sentence, privacy_settings, scan_settings, withheld_frames
from flows.stages.predict_table import join_boxes, join_tables, write_boxes, write_failures, write_rows
from flows.stages.predict_video import predict_video
from flows.stages.video_network import find_video_network
from warehouse.artifacts import artifact_of
from warehouse.lineage import RunPlan, completed_run_id, plan_run
from warehouse.queries import score_with_id
from warehouse.records import Artifact, Left, VideoRef
from warehouse.removed import removed_hashes, removed_moments, removed_state
from warehouse.store import MACHINE_ERRORS, file_sha256

__all__ = ["PREDICT_VERSION", "run_predict"]

PREDICT_VERSION = 4
"""raise when the same head and videos would give other predictions"""

TABLE, BOXES, PAGE, FAILURES = "predictions.csv", "boxes.csv", "timeline.html", "failures.csv"

_NO_INFLUENCE = ("device", "batch_size")
_FAULTS = (ValueError, RuntimeError, ArithmeticError, LookupError, OSError, cv2.error)
"""what one video's content can provoke; it must not take the predictions of the others with it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What all videos have in common."""

    job: Job
    predictor: Predictor
    config: PredictConfig
    scan: IngestConfig
    hashes: Mapping[int, str]
    """of pictures that audits removed"""
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What was done, by this command and those before it that were cut off."""

    parts: tuple[tuple[str, PredictedPart], ...]
    """by their names"""
    failures: tuple[Failure, ...]
    is_whole: bool
    """every video gave frames"""

    @property
    def num_frames(self) -> int:
        """Of all parts."""
        return sum(part.num_frames for _, part in self.parts)

    @property
    def seconds(self) -> float:
        """Of all parts."""
        return sum(part.seconds for _, part in self.parts)

    @property
    def seconds_in_network(self) -> float:
        """Of all parts."""
        return sum(part.seconds_in_network for _, part in self.parts)


def run_predict(job: Job, *, head: str, inputs: Sequence[str], out: Path, config: PredictConfig) -> Path:
    """Predict every sampled frame of videos, DICOM videos and pictures; what cannot be read is listed, and the rest goes on.

    Writes predictions.csv, timeline.html, overlays/, of a head of masks masks/, of boxes boxes.csv, and failures.csv if a file gave
    nothing. Each finished video lies in parts/ until all gave frames: the same command goes on there, and tries those that failed again.

    Args:
        job: the lake that holds the score.
        head: the score's id, or a unique start of it.
        inputs: files, folders or globs.
        out: folder to fill: a new or empty one, or that of the same command before.
        config: which frames, and what is a finding.

    Returns:
        The page.

    Raises:
        ValueError: there is no such score, no input could be read, a class that is no class of the head is asked for, it is not known which
            classes are findings, or the folder holds something else.
        HeadError: the score has no stored head, or its backbone is gone.
        OSError: the disk is full, or the folder cannot be written.
    """
    check_new_folder(out, "--out")
    score = score_with_id(job.lake, head)
    videos, unusable = find_inputs(inputs)
    if not videos:
        if not out.is_dir() or not any(out.iterdir()):
            write_failures(unusable, out / FAILURES)
        raise ValueError(f"nothing to predict: {'; '.join(f'{name}: {reason}' for name, reason in unusable[:3])}")
    predictor = open_predictor(
        score, job.lake.root, cache_dir=job.lake.root / "staging" / "evaluate", device=config.device, clip_network=find_video_network
    )
    positive_classes(predictor, config)
    scan = scan_settings(job.lake, config)
    plan = _plan(job, predictor, config, scan, videos)
    claim_folder(out, plan)
    if (out / PAGE).is_file() and not (out / PARTS).is_dir():
        say(f"predict: these inputs are predicted already, in {out}")
        return out / PAGE
    if predictor.clips is not None and not config.all and config.fps < predictor.clips.least_fps:
        say(
            f"predict: a clip of this head has {predictor.clips.num_frames} frames in {predictor.clips.seconds:.1f} s, and "
            f"{config.fps:g} frames a second are sampled: some stand twice; give --fps {math.ceil(predictor.clips.least_fps)}"
        )
    if predictor.context is not None and not config.all:
        say(
            f"predict: the network sees {predictor.context.num_frames} frames at once, here of {config.fps:g} frames a second; "
            "give --fps, or --all, so that they lie as far apart as those that the head was trained on"
        )
    if predictor.no_distance:
        say(f"predict: the column distance stays empty: {predictor.no_distance}")
    work = _Work(job=job, predictor=predictor, config=config, scan=scan, hashes=removed_hashes(job.lake), out=out)
    with _recorded(job, plan, out) as metrics:
        done = _predicted(work, videos, unusable)
        write_failures(done.failures, out / FAILURES)
        if not done.parts:
            name, reason = done.failures[0]
            raise ValueError(f"none of {len(videos)} inputs gave a frame, such as {name}: {reason}; {out / FAILURES} lists them all")
        if predictor.gives_boxes:
            join_boxes([part_boxes(out, name) for name, _ in done.parts], out / BOXES)
        join_tables([part_table(out, name) for name, _ in done.parts], out / TABLE, predictor)
        render_timeline(_page(work, done), out / PAGE)
        metrics.update(num_frames=done.num_frames, seconds=done.seconds, seconds_in_network=done.seconds_in_network)
    if done.is_whole:
        shutil.rmtree(out / PARTS)
    _report(work, done)
    return out / PAGE


def _plan(job: Job, predictor: Predictor, config: PredictConfig, scan: IngestConfig, videos: Sequence[VideoRef]) -> RunPlan:
    settings = {
        **{name: value for name, value in asdict(config).items() if name not in _NO_INFLUENCE},
        "videos": [each.video_id for each in videos],
        "privacy": privacy_settings(scan),
        "removed": removed_state(job.lake),
    }
    return plan_run(stage="predict", version=PREDICT_VERSION, config=settings, inputs=[artifact_of(predictor.score)])


def _predicted(work: _Work, videos: Sequence[VideoRef], unusable: Sequence[Failure]) -> _Done:
    """One video after another; what is done already is not done again."""
    parts: list[tuple[str, PredictedPart]] = []
    failures = list(unusable)
    for number, video in enumerate(videos):
        name = f"{number + 1:03d}-{_plain_name(video)}"
        part = read_part(work.out, name, video)
        if part is None:
            reason = ""
            try:
                part = _part(work, video, name)
            except UnreadableVideo as failure:
                reason = f"{failure.reason}: {failure}"
            except LeftForLater as later:
                reason = later.left.detail
            except _FAULTS as fault:
                if isinstance(fault, OSError) and fault.errno in MACHINE_ERRORS:
                    raise
                reason = f"{type(fault).__name__}: {fault}"
            if part is None:
                discard_drawn(work.out, name)
                failures.append((video.path, " ".join(reason.split())))
                continue
            say(f"predict: {part.num_frames} frames, {len(part.row.episodes)} episodes: {video.path}")
        parts.append((name, part))
        failures += part.failures
    return _Done(parts=tuple(parts), failures=tuple(failures), is_whole=len(parts) == len(videos))


def _part(work: _Work, video: VideoRef, name: str) -> PredictedPart:
    """Predict one video, and keep what comes of it."""
    lake, out = work.job.lake, work.out
    moments = removed_moments(lake, video.video_id)
    if is_video_removed(moments):
        raise LeftForLater(Left(reason="no_access", detail="an audit of the lake removed this video; nothing of it may be shown"))
    scratch = lake.root / SCRATCH
    start = time.perf_counter()
    with opened_for_playback(video, work.scan, scratch=scratch, grey=eight_bit) as opened, tempfile.TemporaryFile(dir=scratch) as album:
        playback = replace(opened, withheld=withheld_frames(opened, moments, work.hashes))
        predicted = predict_video(playback, work.predictor, work.config, out=out, name=name, album=cast(IO[bytes], album))
        seconds = time.perf_counter() - start
        write_rows(part_table(out, name), video, playback, predicted, work.predictor)
        if work.predictor.gives_boxes:
            write_boxes(part_boxes(out, name), video, playback, predicted)
        have_rows = {playback.pages[frame.number][0] for frame in predicted.frames} if not playback.in_time else set()
        part = PredictedPart(
            row=timeline_row(lake, video, playback, predicted, work.config),
            failures=tuple((video.images[each], why) for each, why in sorted(playback.damaged_images.items()) if each not in have_rows),
            num_frames=len(predicted.frames),
            seconds=seconds,
            seconds_in_network=predicted.seconds_in_network,
        )
    write_part(out, name, video, part)
    return part


def _plain_name(video: VideoRef) -> str:
    """The end of the path in letters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(video.path).stem)[:60] or "video"


def _page(work: _Work, done: _Done) -> Timeline:
    predictor, score = work.predictor, work.predictor.score
    rows = tuple(part.row for _, part in done.parts)
    notes = dict.fromkeys(note for row in rows for note in row.page_notes)
    interval = f" ({score.ci_low:.3f} to {score.ci_high:.3f})" if math.isfinite(score.ci_low) and math.isfinite(score.ci_high) else ""
    facts = (
        ("task", score.task),
        ("head", score.head),
        ("model", score.model),
        ("findings", _findings(work)),
        (f"{score.metric} on the test split", f"{score.value:.3f}{interval}"),
        ("score", score.score_id),
        ("unlike the training data from", f"{predictor.distance.threshold:.4f}, cosine distance" if predictor.distance else "not known"),
        ("settings of privacy", privacy_sentence(work.job.lake)),
        ("speed", _speed(done)),
    )
    reasons = [f"The distance to the training data is not known: {predictor.no_distance}."] if predictor.no_distance else []
    return Timeline(
        title=f"Predictions: {score.task}",
        value_name=_value_name(predictor),
        facts=facts,
        rows=rows,
        failures=done.failures,
        notes=(*reasons, *notes),
    )


def _value_name(predictor: Predictor) -> str:
    """What the curves show."""
    if predictor.gives_masks:
        return "the share of the frame that is foreground"
    return "the score of the surest box of a finding" if predictor.gives_boxes else "the probability of a finding"


def _findings(work: _Work) -> str:
    """Which they are, in words."""
    predictor, config = work.predictor, work.config
    if predictor.gives_masks:
        return f"regions of at least {config.min_region_share:.2%} of the frame"
    positive = positive_classes(predictor, config)
    names = ", ".join(each for each in predictor.classes if each in positive)
    if predictor.gives_boxes:
        return f"boxes of {names}, from a score of {predictor.threshold:.4f}, which validation chose"
    return f"{names}, from a probability of {config.min_probability:g}"


def _speed(done: _Done) -> str:
    if not done.num_frames or not done.seconds:
        return "not known"
    alone = done.num_frames / max(done.seconds_in_network, 1e-9)
    return f"{done.num_frames / done.seconds:.1f} frames a second; {alone:.1f} in network and head alone"


@contextlib.contextmanager
def _recorded(job: Job, plan: RunPlan, out: Path) -> Iterator[dict[str, float]]:
    """A run record with the table as its output and the metrics that are put in; none where the same was predicted before."""
    metrics: dict[str, float] = {}
    if completed_run_id(job.lake, plan):
        yield metrics
        return
    with job.record(plan) as run:
        yield metrics
        table = out / TABLE
        digest = file_sha256(table)
        run.output(
            Artifact(artifact_id=digest, kind="report", uri=table.absolute().as_uri(), sha256=digest, num_bytes=table.stat().st_size)
        )
        run.metrics.update(metrics)


def _report(work: _Work, done: _Done) -> None:
    out = work.out
    say(f"predict: {done.num_frames} frames of {len(done.parts)} inputs, {_speed(done)}; {out / PAGE} (research use only)")
    say(f"predict: findings: {_findings(work)}; settings of privacy: {privacy_sentence(work.job.lake)}")
    if done.failures:
        name, reason = done.failures[0]
        say(f"predict: {len(done.failures)} files gave nothing, such as {name}: {reason}; {out / FAILURES} lists them")
    if not done.is_whole:
        say("predict: the same command tries the failed videos again, and keeps the others")
