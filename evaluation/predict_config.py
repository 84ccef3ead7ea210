"""Settings of predictions. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PredictConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictConfig:
    """Which frames a stored head is run on, and what counts as a finding."""

    fps: float = 5.0
    """frames of a video that are predicted per second of it"""
    all: bool = False
    """predict every frame of a video, whatever fps says"""
    positive: tuple[str, ...] = ()
    """classes that are findings. Unless given all classes of boxes; of others all but the first, where these are ordered or the first is
    called normal, negative, none, healthy, mucosa, 0 or background; else they must be given"""
    min_probability: float = 0.5
    """probability from which a class that is a finding makes a frame positive, if it is also the most probable class. A head of boxes has
    its own threshold, which its evaluation chose on the validation split"""
    min_region_share: float = 0.001
    """share of the frame from which a region of a mask counts; smaller ones stay in the mask"""
    episode_gap_s: float = 1.0
    """longest time in seconds between positive frames of one episode"""
    episode_frames: int = 2
    """positive frames that make an episode of a video; of still images one does"""
    nearest: int = 5
    """frames of the archive that are shown for each episode; 0 for none"""
    batch_size: int | None = None
    """frames per forward pass; where not given 8 on a CPU and 64 on a GPU"""
    device: str = "auto"
    """auto, cpu or cuda"""

    def __post_init__(self) -> None:
        """Raises ValueError that says which setting is out of range and what it may be."""
        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps is {self.fps:g}; give a rate above 0 and up to 1000, or --all for every frame")
        for name in ("min_probability", "min_region_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a share from 0 to 1")
        if self.episode_gap_s < 0 or self.episode_frames < 1 or self.nearest < 0:
            raise ValueError(
                f"episode_gap_s, episode_frames and nearest are {self.episode_gap_s:g}, {self.episode_frames} and {self.nearest}; "
                "give at least 0, 1 and 0"
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1, or left out")
