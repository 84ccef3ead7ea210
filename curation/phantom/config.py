"""Settings of phantom videos. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PhantomConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomConfig:
    """Procedural endoscopy videos and labelled evaluation sets."""

    num_train_videos: int = 16
    """videos for pretraining, one patient each"""
    num_eval_patients: int = 32
    """further patients, seen in no training video, for the labelled sets; 4 at least, so that train, val and test have one each"""
    seconds: float = 20.0
    """length of a video in seconds"""
    fps: float = 12.0
    """frames per second"""
    size: int = 320
    """height of a frame in pixels, even; the width is the same or five quarters of it"""
    landmarks_per_station: int = 3
    """labelled images of each anatomical station from each evaluation patient"""
    images_per_grade: int = 3
    """labelled images of each grade of inflammation from each evaluation patient"""
    polyps_per_patient: int = 8
    """images with a polyp mask from each evaluation patient; a few less where folds hide a polyp from every side"""
    motion_pairs: int = 0
    """pairs of labelled clips from each evaluation patient, the camera going in and the same frames backward; 0 for no such set"""
    spread: float = 1.0
    """how far patients' colours and optics lie apart: 1 as the processors of many makers, less as those of one hospital, 0 all alike"""
    seed: int = 0
    """every pixel follows from it"""

    def __post_init__(self) -> None:
        if self.num_train_videos < 1:
            raise ValueError(f"got num_train_videos={self.num_train_videos}, expected 1 or more videos")
        if self.num_eval_patients < 4:
            raise ValueError(f"got num_eval_patients={self.num_eval_patients}, expected 4 or more, so that each split has a patient")
        if not 0 < self.seconds <= 3600:
            raise ValueError(f"got seconds={self.seconds}, expected a length above 0 and up to 3600")
        if not 1 <= self.fps <= 120:
            raise ValueError(f"got fps={self.fps}, expected 1 to 120 frames per second")
        if not 64 <= self.size <= 640 or self.size % 2:
            raise ValueError(f"got size={self.size}, expected an even number from 64 to 640: h264 in yuv420p has no odd sizes")
        for name in ("landmarks_per_station", "images_per_grade", "polyps_per_patient"):
            if getattr(self, name) < 1:
                raise ValueError(f"got {name}={getattr(self, name)}, expected 1 or more images")
        if self.motion_pairs < 0:
            raise ValueError(f"got motion_pairs={self.motion_pairs}, expected 0 or more pairs of clips")
        if not 0 <= self.spread <= 1:
            raise ValueError(f"got spread={self.spread}, expected 0 to 1")
        if self.seed < 0:
            raise ValueError(f"got seed={self.seed}, expected 0 or above")
