"""What the command line calls the runners; apart, so that options can be parsed without loading one."""

from __future__ import annotations

from typing import Literal

__all__ = ["RunnerName"]

RunnerName = Literal["serial", "processes", "ray"]
