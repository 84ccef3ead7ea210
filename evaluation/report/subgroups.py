"""The test images of one head by device, site, and patient or sequence, from the predictions that its evaluation kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.report.prediction_tables import GroupRow, SubgroupRow, group_rows, subgroup_rows
from evaluation.tasks import SUBGROUPS
from warehouse.forgotten import forgotten_hash
from warehouse.records import Score

__all__ = ["Subgroups", "prediction_files", "prediction_table", "subgroups_of"]

_MOST_GROUPS = 8
_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroups:
    """Where a head does worse than elsewhere."""

    measure: str
    """what a value is"""
    columns: tuple[tuple[str, tuple[SubgroupRow, ...]], ...]
    """device or site, and the rows of each that the data names"""
    groups: tuple[GroupRow, ...]
    """the patients or sequences that do worst, by a digest"""


def prediction_files(score: Score) -> tuple[str, ...]:
    """Those of one evaluation, or of the folds whose predictions are pooled; none if they were not kept."""
    details = score.details
    if "fold_predictions" in details:
        return tuple(details["fold_predictions"].split(" "))
    return tuple(filter(None, [details.get("predictions_file")]))


def prediction_table(score: Score, root: Path) -> pa.Table | None:
    """The predictions of a score's head, those of all folds together; None if they were not kept or are gone.

    Args:
        score: of a head.
        root: the lake.
    """
    files = [root / name for name in prediction_files(score)]
    if not files or not all(file.is_file() for file in files):
        return None
    tables = [pq.read_table(file) for file in files]
    shared = [name for name in tables[0].column_names if all(name in table.column_names for table in tables)]
    return pa.concat_tables([table.select(shared).replace_schema_metadata(tables[0].schema.metadata) for table in tables])


def subgroups_of(table: pa.Table, root: Path) -> Subgroups:
    """Values by device, by site, and of the groups that do worst; a part is empty if the data does not name it.

    Args:
        table: predictions of test images.
        root: the lake, whose key patients' digests are made with: a page is passed on more easily than a folder of data.
    """
    groups = group_rows(table)
    is_masks, is_boxes = "predicted_mask" in table.column_names, "predicted_boxes" in table.column_names
    worst = groups[:_MOST_GROUPS] if 1 < len(groups) < table.num_rows else ()
    return Subgroups(
        measure="mean Dice" if is_masks else "mean F1 of boxes" if is_boxes else "accuracy",
        columns=tuple((name, rows) for name in SUBGROUPS if (rows := subgroup_rows(table, name))),
        groups=tuple(GroupRow(forgotten_hash(root, row.group)[:_DIGITS], row.num_items, row.value) for row in worst),
    )
