"""What a lake has decided about privacy, for predictions: the settings of its ingest, and what was removed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict

from curation.ingest import IngestConfig, Playback
from evaluation.predict_config import PredictConfig
from warehouse.lake import Lake
from warehouse.removed import RemovedMoment, latest_ingest_settings
from warehouse.requalification import latest_requalification

__all__ = ["is_video_removed", "privacy_sentence", "privacy_settings", "scan_settings", "withheld_frames"]

_TAKEN = ("max_out_of_body", "out_of_body_window_s", "text", "text_interval_s", "text_masks", "max_side", "max_pixels", "max_frames")
"""settings of ingest that say what may be seen, and in which pictures"""

_REMOVED_VIDEO = "video_removed_in_audit"


def scan_settings(lake: Lake, config: PredictConfig) -> IngestConfig:
    """How a video is scanned: by the privacy settings of the lake's latest ingest, else the defaults.

    Where that ingest looked for no text, this does; a stricter threshold of the latest requalification counts too.
    """
    found = latest_ingest_settings(lake)
    recorded = found[1] if found else {}
    taken = {name: recorded[name] for name in _TAKEN if name in recorded}
    if "text_masks" in taken:
        taken["text_masks"] = tuple(taken["text_masks"])
    if taken.get("text") == "off":
        del taken["text"]
    installed = IngestConfig().thresholds
    thresholds = {name: value for name, value in recorded.get("thresholds", {}).items() if name in installed}
    scan = IngestConfig(**taken, thresholds=thresholds, fps=config.fps, all=config.all)
    requalified = latest_requalification(lake)
    stricter = min(scan.max_out_of_body, float(requalified[1].get("max_out_of_body", 1.0))) if requalified else scan.max_out_of_body
    return scan.changed({"max_out_of_body": stricter})


def privacy_settings(scan: IngestConfig) -> dict[str, object]:
    """Those of the settings that decide what is shown, for a run's identity."""
    settings = asdict(scan)
    return {name: settings[name] for name in (*_TAKEN, "thresholds")}


def privacy_sentence(lake: Lake) -> str:
    """Where the settings are from."""
    found = latest_ingest_settings(lake)
    return f"as the lake's latest ingest, run {found[0]}" if found else "the defaults of ingest; the lake has no ingest"


def is_video_removed(moments: tuple[RemovedMoment, ...]) -> bool:
    """Whether an audit removed the whole video."""
    return any(moment.reason == _REMOVED_VIDEO for moment in moments)


def withheld_frames(playback: Playback, moments: tuple[RemovedMoment, ...], hashes: Mapping[int, str]) -> dict[int, str]:
    """Why frames may not be shown, by frame index: they lie in removed moments, or look as what an audit removed."""

    @functools.cache
    def reason_at(pts_us: int) -> str | None:
        return next((moment.reason for moment in moments if moment.start_us <= pts_us <= moment.end_us), None)

    stored = playback.stored_hashes
    found = {
        number: reason_at(sample.pts_us) or hashes.get(sample.phash) or hashes.get(stored.get(number, sample.phash))
        for number, sample in playback.samples.items()
    }
    return {number: reason for number, reason in found.items() if reason}
