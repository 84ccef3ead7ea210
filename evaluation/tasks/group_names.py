"""Names of patients, videos and sequences: one spelling each, so that nobody stands in two splits as two."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from evaluation.tasks.items import Item

__all__ = ["one_name_each"]


def one_name_each(items: Sequence[Item]) -> tuple[list[Item], tuple[str, ...]]:
    """Items whose groups differ in more than Unicode form, case, spaces, or 12.0 for 12, and a note on how many did not.

    A group has the spelling that comes first. Two patients who are told apart by case alone become one, which costs an interval some
    width; one patient read as two would be a leak. The note names nobody.
    """
    spellings: dict[str, dict[str, None]] = defaultdict(dict)
    for item in items:
        if item.group not in ("", item.path):  # else no group is named
            spellings[_key(item.group)].setdefault(item.group)
    names = {name: next(iter(found)) for found in spellings.values() for name in found}
    num_joined = sum(len(found) > 1 for found in spellings.values())
    if not num_joined:
        return list(items), ()
    what = "1 group is" if num_joined == 1 else f"{num_joined:,} groups are"
    note = f"groups: {what} written in several ways (case, spaces, Unicode form, 12.0 for 12) and read as one each"
    return [replace(item, group=names.get(item.group, item.group)) for item in items], (note,)


def _key(name: str) -> str:
    tidy = " ".join(unicodedata.normalize("NFC", name).casefold().split())
    return re.sub(r"^(\d+)\.0+$", r"\1", tidy)
