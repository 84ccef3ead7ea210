"""GastroHUN's stations of the stomach, on which all four annotators agree.

The list `official_splits/image_classification.csv` has a label by each annotator and by each agreement. Its published code trains on
the column "Complete agreement": 5,318 of 8,834 images, 22 stations and OTHERCLASS. No patient stands in two splits.
"""

from __future__ import annotations

from pathlib import Path

from evaluation.tasks.expected import Expected
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.readers import image_files, read_rows
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.splits import normalized_split
from evaluation.tasks.task import Reading, Task

__all__ = ["GASTROHUN"]

COUNTS = {
    **dict(zip(("A1", "A2", "A3", "A4", "A5", "A6"), (270, 231, 200, 190, 184, 284), strict=True)),
    **dict(zip(("G1", "G2", "G3", "G4"), (288, 220, 221, 272), strict=True)),
    **dict(zip(("L1", "L2", "L3", "L4", "L5", "L6"), (253, 229, 199, 173, 199, 309), strict=True)),
    **dict(zip(("P1", "P2", "P3", "P4", "P5", "P6"), (304, 208, 218, 225, 223, 302), strict=True)),
    "OTHERCLASS": 116,
}


def _read(data: Path) -> Reading:
    tables = sorted(data.rglob("image_classification.csv"))
    if not tables:
        raise TaskError(f"task gastrohun: no image_classification.csv under {data}; put the official_splits of the publication there")
    rows, _ = read_rows(tables[0])
    columns = ("filename", "num patient", "Complete agreement", "set_type")
    if missing := [column for column in columns if column not in rows[0]]:
        raise TaskError(f"task gastrohun: {tables[0]} has no column {missing[0]!r}; give the list of the publication")
    paths = {(path.parent.name, path.name): path for path in image_files(data)}
    agreed = [row for row in rows if row["Complete agreement"]]
    items = []
    for row in agreed:
        path = paths.get((row["num patient"], row["filename"]))
        if path is not None:
            split = normalized_split(row["set_type"]) or ""
            group = f"patient {row['num patient']}"
            items.append(Item(path=str(path), label=row["Complete agreement"], split=split, group=group))
    if not items:
        raise TaskError(
            f"task gastrohun: none of the {len(agreed):,} listed images is under {data}; expected Labeled Images/PATIENT/NAME.jpg"
        )
    return items, (f"labels on which all four annotators agree: {len(agreed):,} of {len(rows):,} images",)


def _as_read(_: Path, items: list[Item], __: int) -> Reading:
    return items, ()


GASTROHUN = Task(
    name="gastrohun",
    data="GastroHUN: stations of the stomach",
    read=_read,
    kind="classification",
    splits=(SplitProtocol(name="official", source="GastroHUN's official patients", divide=_as_read),),
    expected=Expected(counts=COUNTS),
)
