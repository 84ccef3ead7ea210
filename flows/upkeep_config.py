"""Settings of what keeps a lake in order on a schedule: thresholds of alerts, and upkeep of the tables."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["AlertConfig", "UpkeepConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertConfig:
    """When a lake asks for a person. None switches an alert off."""

    max_reject_share: float | None = 0.2
    """most files that ingest may reject, as a share (0-1) of those it decided in `window_days`, duplicates aside"""
    min_decided: int = 10
    """files decided in `window_days` from which on the reject share is judged"""
    max_quiet_nights: float | None = 7.0
    """most days since the newest video was ingested"""
    min_disk_days: float | None = 30.0
    """fewest days until the lake's disk is full, if it grows as in the last 28 days"""
    min_free_gib: float | None = 5.0
    """least free space on the lake's disk, in GiB"""
    max_drift: float | None = 1.5
    """most that new frames may lie from their centroids, in times of the distance of the tree's own frames"""
    max_kept_change: float | None = 0.2
    """most that the kept share (0-1) of the videos of `window_days` may differ from that of all earlier ones, up or down"""
    max_audit_days: float | None = 90.0
    """most days since a person signed off a privacy audit, or since the first dataset if nobody has"""
    window_days: float = 7.0
    """what counts as recent"""

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if value is not None and value < 0:
                raise ValueError(f"{setting.name} is {value:g}; give 0 or more, or null to switch the alert off")
        for name in ("max_reject_share", "max_kept_change"):
            value = getattr(self, name)
            if value is not None and value > 1:
                raise ValueError(f"{name} is {value:g}, and a share is at most 1; give a number from 0 to 1")
        if self.window_days <= 0:
            raise ValueError(f"window_days is {self.window_days:g}; give more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepConfig:
    """How a lake is made small."""

    keep_days: float = 90.0
    """how far back the lake can still be read as it was (`endoforge sql --at`); snapshots with a tag stay whatever their age"""
    grace_hours: float = 24.0
    """how long a file stays that is replaced; longer than your longest query"""

    def __post_init__(self) -> None:
        if self.keep_days < 0 or self.grace_hours < 0:
            raise ValueError(f"keep_days {self.keep_days:g} and grace_hours {self.grace_hours:g} are times; give 0 or more")
