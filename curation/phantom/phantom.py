"""Procedural endoscopy with ground truth: videos of training patients, labelled image sets of others.

Everything follows from `PhantomConfig.seed`: the same config gives the same bytes with the same libraries. Patients 0 to
num_train_videos - 1 have videos; the next num_eval_patients have labelled images only, and share no texture, geometry or colours with them.
"""

from __future__ import annotations

from pathlib import Path

from curation.phantom.config import PhantomConfig
from curation.phantom.video import VideoTruth, write_video
from warehouse.store import content_id, read_json, write_json

__all__ = ["eval_patients", "phantom_video", "render_video", "train_patients", "video_path"]

VIDEO_VERSION = 3


def train_patients(config: PhantomConfig) -> range:
    """Numbers of the patients that have videos."""
    return range(config.num_train_videos)


def eval_patients(config: PhantomConfig) -> range:
    """Numbers of the patients that have labelled images."""
    return range(config.num_train_videos, config.num_train_videos + config.num_eval_patients)


def video_path(out_dir: Path, patient: int) -> Path:
    """Where a patient's video goes; every second name holds a space, as archives' names do."""
    separator = " " if patient % 2 else "_"
    return out_dir / f"patient_{patient:03d}" / f"procedure{separator}{patient:03d}.mp4"


def render_video(path: Path, *, config: PhantomConfig, patient: int) -> VideoTruth:
    """Write one h264 mp4 atomically, and its truth beside it as `<stem>.truth.parquet`.

    Args:
        path: of the mp4; parents are made.
        config: sizes and seed.
        patient: 0 or above; even numbers have a colonoscopy, odd ones a gastroscopy.

    Raises:
        ValueError: the number is negative.
    """
    if patient < 0:
        raise ValueError(f"got patient {patient}, expected 0 or above")
    return write_video(path, config=config, patient=patient)


def phantom_video(patient: int, *, out_dir: str, config: PhantomConfig) -> str:
    """Stage function: the video of one training patient; a second call with one config does nothing.

    Args:
        patient: 0 to num_train_videos - 1.
        out_dir: folder of the videos.
        config: sizes and seed.

    Returns:
        path of the mp4.
    """
    path = video_path(Path(out_dir), patient)
    evidence = Path(out_dir) / "evidence" / f"patient_{patient:03d}.json"
    key = content_id({"stage": "phantom_video", "version": VIDEO_VERSION, "config": config, "patient": patient})
    if path.exists() and evidence.exists() and read_json(evidence)["key"] == key:
        return str(path)
    truth = render_video(path, config=config, patient=patient)
    write_json(
        evidence, {"key": key, "patient": patient, "num_frames": truth.frames.num_rows, "video": path.name, "truth": truth.truth_path.name}
    )
    return str(path)
