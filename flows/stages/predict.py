"""Stage run: a stored head of a score over videos and pictures, to a table, masks, overlaid videos and a page."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

from curation.ingest import SCRATCH, IngestConfig, Playback, opened_for_playback
from curation.sources import LeftForLater, find_videos, identify, is_uri
from curation.video import UnreadableVideo
from evaluation.predict import Predictor, open_predictor
from evaluation.predict_config import PredictConfig
from evaluation.report import Timeline, TimelineRow, render_timeline
from flows.job import Job
from flows.runners import say
from flows.stages.checks import check_new_folder
from flows.stages.predict_page import timeline_row
from flows.stages.predict_video import PredictedFrame, VideoPredictions, positive_classes, predict_video
from flows.stages.replay_score import find_score
from warehouse.artifacts import artifact_of
from warehouse.lineage import RunPlan, completed_run_id, plan_run
from warehouse.records import Artifact, Left, VideoRef
from warehouse.store import atomic_file, file_sha256

__all__ = ["PREDICT_VERSION", "run_predict"]

PREDICT_VERSION = 1
"""raise when the same head and videos would give other predictions"""

TABLE, PAGE, FAILURES = "predictions.csv", "timeline.html", "failures.csv"

Failure = tuple[str, str]


@dataclass(slots=True)
class _Tally:
    """What was done."""

    num_frames: int = 0
    seconds: float = 0.0
    seconds_in_network: float = 0.0


def run_predict(job: Job, *, head: str, inputs: Sequence[str], out: Path, config: PredictConfig) -> Path:
    """Predict every sampled frame of videos, DICOM videos and pictures; what cannot be read is listed, and the rest goes on.

    Writes predictions.csv, timeline.html, overlays/, of a head of masks masks/, and failures.csv where a file gave nothing.

    Args:
        job: the lake that holds the score.
        head: the score's id, or a unique start of it.
        inputs: files, folders or globs.
        out: folder to fill.
        config: which frames, and what is a finding.

    Returns:
        The page.

    Raises:
        ValueError: there is no such score, no input could be read, or a class that is no class of the head is asked for.
        HeadError: the score has no stored head, or its backbone is gone.
    """
    check_new_folder(out, "--out")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out {str(out)!r} is not empty; give a new folder, so that nothing of earlier predictions stays in it")
    score = find_score(job.lake, head)
    predictor = open_predictor(score, job.lake.root, cache_dir=job.lake.root / "staging" / "evaluate", device=config.device)
    positive_classes(predictor, config)
    if predictor.no_distance:
        say(f"predict: the column distance stays empty: {predictor.no_distance}")
    videos, failures = _found(inputs)
    if not videos:
        raise ValueError(f"nothing to predict: {'; '.join(f'{name}: {reason}' for name, reason in failures[:3])}")
    settings = {**{name: value for name, value in asdict(config).items() if name != "device"}, "videos": [each.video_id for each in videos]}
    plan = plan_run(stage="predict", version=PREDICT_VERSION, config=settings, inputs=[artifact_of(score)])
    out.mkdir(parents=True, exist_ok=True)
    tally = _Tally()
    with _recorded(job, plan, out, tally):
        rows = _predicted(job, predictor, videos, config, out, failures, tally)
        if not rows:
            raise ValueError(f"none of {len(videos)} inputs gave a frame, such as {failures[0][0]}: {failures[0][1]}; check the files")
        _write_failures(failures, out)
        render_timeline(_page(predictor, rows, failures, tally), out / PAGE)
    _report(tally, len(rows), failures, out)
    return out / PAGE


def _found(inputs: Sequence[str]) -> tuple[list[VideoRef], list[Failure]]:
    """What the inputs name, each identified by its content; and what could not be."""
    found: dict[str, VideoRef] = {}
    failures: list[Failure] = []
    pictures = [name for name in inputs if Path(name).is_file()]
    others = [[name] for name in inputs if name not in pictures]
    for names in [pictures, *others] if pictures else others:  # pictures of one folder that are named together are one row
        try:
            found |= {video.path: video for video in find_videos(names)}
        except (OSError, ValueError) as error:
            failures += [(name, str(error)) for name in names]
    videos = []
    for video in sorted(found.values(), key=lambda each: each.path):
        if is_uri(video.path):
            failures.append((video.path, "in a store; fetch it first, because predictions are made of local files"))
            continue
        identified = identify(video)
        if isinstance(identified, Left):
            failures.append((video.path, identified.detail))
        else:
            videos.append(identified)
    return videos, failures


def _predicted(
    job: Job, predictor: Predictor, videos: Sequence[VideoRef], config: PredictConfig, out: Path, failures: list[Failure], tally: _Tally
) -> list[TimelineRow]:
    """Predict one video after another, and write their rows into the table."""
    rows = []
    ingest = IngestConfig(fps=config.fps, all=config.all)
    scratch = job.lake.root / SCRATCH
    with atomic_file(out / TABLE) as file, _table(file, predictor) as table:
        for number, video in enumerate(videos):
            name = f"{number + 1:03d}-{_plain_name(video)}"
            start = time.perf_counter()
            try:
                with opened_for_playback(video, ingest, scratch=scratch) as playback, tempfile.TemporaryFile(dir=scratch) as album:
                    told = {"out": out, "name": name, "album": cast(IO[bytes], album)}
                    predicted = predict_video(playback, predictor, config, **told)  # type: ignore[arg-type]
                    tally.seconds += time.perf_counter() - start
                    tally.num_frames += len(predicted.frames)
                    tally.seconds_in_network += predicted.seconds_in_network
                    failures += [(video.images[place], reason) for place, reason in sorted(playback.damaged_images.items())]
                    _write_rows(table, video, playback, predicted, predictor)
                    rows.append(timeline_row(job.lake, video, playback, predicted, config))
            except UnreadableVideo as failure:
                failures.append((video.path, f"{failure.reason}: {failure}"))
            except LeftForLater as reason:
                failures.append((video.path, reason.left.detail))
            else:
                say(f"predict: {len(predicted.frames)} frames, {len(rows[-1].episodes)} episodes: {video.path}")
    return rows


@contextlib.contextmanager
def _table(file: IO[bytes], predictor: Predictor) -> Iterator[Any]:
    """A CSV writer whose header is written."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    table = csv.writer(text, lineterminator="\n")
    what = ["foreground_share", "num_regions", "mask"] if predictor.gives_masks else [f"p_{each}" for each in predictor.classes]
    table.writerow(["file", "frame", "pts_s", "not_shown", "prediction", *what, "distance", "unlike_training"])
    try:
        yield table
    finally:
        text.flush()
        text.detach()


def _write_rows(table: Any, video: VideoRef, playback: Playback, predicted: VideoPredictions, predictor: Predictor) -> None:
    for frame in predicted.frames:
        image, page = playback.pages.get(frame.number, (0, 0))
        place = (video.path, frame.number, f"{frame.position:.6f}") if playback.in_time else (video.images[image], page, "")
        table.writerow([*place, frame.hidden or "", frame.label, *_values(frame, predictor), *_likeness(frame)])


def _values(frame: PredictedFrame, predictor: Predictor) -> list[object]:
    if predictor.gives_masks:
        return [f"{frame.value:.6f}", frame.num_regions, frame.mask or ""]
    return [f"{share:.6f}" for share in frame.probabilities]


def _likeness(frame: PredictedFrame) -> list[object]:
    return ["", ""] if frame.distance is None else [f"{frame.distance:.6f}", int(bool(frame.is_unlike))]


def _plain_name(video: VideoRef) -> str:
    """The end of the path in letters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(video.path).stem)[:60] or "video"


def _write_failures(failures: Sequence[Failure], out: Path) -> None:
    if not failures:
        return
    with atomic_file(out / FAILURES) as file:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *failures])
        file.write(text.getvalue().encode("utf-8", errors="surrogateescape"))


def _page(predictor: Predictor, rows: Sequence[TimelineRow], failures: Sequence[Failure], tally: _Tally) -> Timeline:
    score = predictor.score
    notes = dict.fromkeys(note for row in rows for note in row.page_notes)
    facts = (
        ("task", score.task),
        ("head", score.head),
        ("model", score.model),
        (f"{score.metric} on the test split", f"{score.value:.3f} ({score.ci_low:.3f} to {score.ci_high:.3f})"),
        ("score", score.score_id),
        ("unlike the training data from", f"{predictor.distance.threshold:.4f}, cosine distance" if predictor.distance else "not known"),
        ("speed", _speed(tally)),
    )
    reasons = [f"The distance to the training data is not known: {predictor.no_distance}."] if predictor.no_distance else []
    return Timeline(
        title=f"Predictions: {score.task}",
        value_name="the share of the frame that is foreground" if predictor.gives_masks else "the probability of a finding",
        facts=facts,
        rows=tuple(rows),
        failures=tuple(failures),
        notes=(*reasons, *notes),
    )


def _speed(tally: _Tally) -> str:
    if not tally.num_frames or not tally.seconds:
        return "not known"
    alone = tally.num_frames / max(tally.seconds_in_network, 1e-9)
    return f"{tally.num_frames / tally.seconds:.1f} frames a second; {alone:.1f} in network and head alone"


@contextlib.contextmanager
def _recorded(job: Job, plan: RunPlan, out: Path, tally: _Tally) -> Iterator[None]:
    """A run record with the table as its output; none where the same was predicted before."""
    if completed_run_id(job.lake, plan):
        yield
        return
    with job.record(plan) as run:
        yield
        table = out / TABLE
        digest = file_sha256(table)
        run.output(
            Artifact(artifact_id=digest, kind="report", uri=table.absolute().as_uri(), sha256=digest, num_bytes=table.stat().st_size)
        )
        run.metrics.update(num_frames=tally.num_frames, seconds=tally.seconds, seconds_in_network=tally.seconds_in_network)


def _report(tally: _Tally, num_videos: int, failures: Sequence[Failure], out: Path) -> None:
    say(f"predict: {tally.num_frames} frames of {num_videos} inputs, {_speed(tally)}; {out / PAGE} (research use only)")
    if failures:
        say(f"predict: {len(failures)} files gave nothing, such as {failures[0][0]}: {failures[0][1]}; {out / FAILURES} lists them")
