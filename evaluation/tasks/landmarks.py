"""The phantom's anatomical landmarks: `landmarks/labels.csv`."""

from __future__ import annotations

from evaluation.tasks.places import phantom_labels
from evaluation.tasks.task import Task

__all__ = ["LANDMARKS"]

LANDMARKS = Task(name="landmarks", data="the phantom's anatomical landmarks", read=phantom_labels("landmarks"), kind="classification")
