"""Settings of the audits for privacy. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AuditConfig", "OutOfBodyConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """Which frames a person is shown."""

    sample: int = 200
    """frames: one half drawn at random, the other the most doubtful; all there are where there are fewer"""
    seed: int = 0
    """the random draw follows from it"""

    def __post_init__(self) -> None:
        if not 2 <= self.sample <= 2000:
            raise ValueError(f"got sample={self.sample}, expected 2 to 2000 frames: more than a browser and a person take at once")
        if self.seed < 0:
            raise ValueError(f"got seed={self.seed}, expected 0 or above")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfBodyConfig:
    """The classifier that tells frames outside the body by their embeddings."""

    sensitivity: float = 0.99
    """share of the labelled images outside that the threshold must find, each scored by a classifier that has not seen it"""
    window: int = 5
    """neighbouring frames over whose median a score is smoothed within a video, an odd number; 1 does not smooth"""
    max_removed_share: float = 0.2
    """nothing is removed where more than this share of the candidates would be: labels that do not fit the archive must not empty it"""
    folds: int = 5
    """parts of the cross-validation; images of one subfolder stay in one part"""

    def __post_init__(self) -> None:
        for name in ("sensitivity", "max_removed_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"got {name}={getattr(self, name)}, expected a share above 0 and up to 1")
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"got window={self.window}, expected an odd number of frames; 1 does not smooth")
        if self.folds < 2:
            raise ValueError(f"got folds={self.folds}, expected 2 or more")
