"""The phantom's grades of inflammation: `grades/labels.csv`."""

from __future__ import annotations

from evaluation.tasks.places import phantom_labels
from evaluation.tasks.task import Task

__all__ = ["GRADES"]

GRADES = Task(name="grades", data="the phantom's grades of inflammation", read=phantom_labels("grades"), kind="ordinal")
