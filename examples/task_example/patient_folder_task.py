"""A task for images named PATIENT_CLASS_NUMBER.jpg, with the test patients in a list: test.txt, one patient a line."""

from __future__ import annotations

from pathlib import Path

from evaluation.tasks import Item, Protocol, Reading, Task, TaskError

__all__ = ["WARD_FINDINGS"]


def read(data: Path) -> Reading:
    """Items of all images; patients outside the list are divided into training and validation by EndoForge."""
    listed = data / "test.txt"
    if not listed.is_file():
        raise TaskError(f"task ward_findings: {listed} does not exist; give the folder that holds it")
    test = set(listed.read_text(encoding="utf-8").split())
    items = []
    for path in sorted(data.glob("*.jpg")):
        patient, label, _ = path.stem.split("_")
        split = "test" if patient in test else "train"
        items.append(Item(path=str(path), label=label, split=split, group=f"patient {patient}"))
    return items, ("test patients: those of test.txt",)


WARD_FINDINGS = Task(
    name="ward_findings",
    data="images of our own ward, named PATIENT_CLASS_NUMBER.jpg, beside test.txt",
    read=read,
    kind="classification",
    protocol=Protocol(heads=("knn", "linear"), metrics=("balanced_accuracy", "macro_f1"), primary="macro_f1"),
    detect=lambda data: (data / "test.txt").is_file() and any(data.glob("*_*_*.jpg")),
)
