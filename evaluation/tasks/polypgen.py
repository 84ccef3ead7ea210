"""PolypGen's masks of polyps, one centre left out at a time.

Only the single frames of the six centres are read: `data_C1/images_C1/NAME.jpg` and `data_C1/masks_C1/NAME_mask.jpg`. A few have empty
masks. The centre is the group, for no patient is named: frames of one patient stay within their centre, and each fold tests one centre
and chooses on the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.expected import Expected
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.places import mask_pairs
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.task import Reading, Task

__all__ = ["POLYPGEN"]

COUNTS = {"C1": 256, "C2": 301, "C3": 457, "C4": 227, "C5": 208, "C6": 88}


def _read(data: Path) -> Reading:
    items = []
    for centre in COUNTS:
        images = next((path for path in sorted(data.rglob(f"images_{centre}")) if path.is_dir()), None)
        if images is not None:
            pairs = mask_pairs("polypgen", images, images.with_name(f"masks_{centre}"), _stem_of_mask)
            items += [replace(item, group=centre, site=centre) for item in pairs]
    if not items:
        raise TaskError(f"task polypgen: no folder data_C1/images_C1 under {data}; give the folder of the download")
    return items, ("single frames of six centres, without the sequences", "patients unknown: groups are centres, which hold several")


def _stem_of_mask(stem: str) -> str:
    """One image, C3_EndoCV2021_00489_, has an underscore that its mask lacks."""
    return f"{stem.rstrip('_')}_mask"


def _leave_one_centre_out(_: Path, items: list[Item], fold: int) -> Reading:
    centres = list(COUNTS)
    splits = {centres[fold]: "test", centres[(fold + 1) % len(centres)]: "val"}
    note = f"tested on centre {centres[fold]}, chosen on centre {centres[(fold + 1) % len(centres)]}"
    return [replace(item, split=splits.get(item.group, "train")) for item in items], (note,)


def _by_centre(items: Sequence[Item]) -> Mapping[str, int]:
    return Counter(item.group for item in items)


POLYPGEN = Task(
    name="polypgen",
    data="PolypGen: masks of polyps of six centres",
    read=_read,
    kind="segmentation",
    are_patients=False,
    splits=(
        SplitProtocol(
            name="centres",
            source="one of PolypGen's six centres left out",
            divide=_leave_one_centre_out,
            num_folds=len(COUNTS),
            default_fold=len(COUNTS) - 1,
        ),
    ),
    expected=Expected(counts=COUNTS, tally=_by_centre),
)
