"""What brings a lake from one schema version to the next: statements alone, which `warehouse.lake` runs in one transaction."""

from __future__ import annotations

from collections.abc import Iterator

from warehouse.statements import add_text_column, create_table
from warehouse.tables.clips import CLIP_TABLES
from warehouse.tables.curation import CURATION_TABLES

__all__ = ["OLDEST_VERSION", "migration"]

OLDEST_VERSION = 7
"""of release 0.1.0; older lakes are not converted"""


def migration(version: int) -> Iterator[str]:
    """Statements that make the next version of a lake of this one; the views are made anew after them.

    Raises:
        ValueError: no migration starts at that version.
    """
    if version == 7:  # 8 has clips
        for name, table in CLIP_TABLES.items():
            yield from create_table(name, table)
        yield from add_text_column("datasets", "kind", CURATION_TABLES["datasets"].columns["kind"].what)
        yield "UPDATE datasets SET kind = 'images'"
        return
    raise ValueError(f"no migration starts at schema version {version}; the oldest that does is {OLDEST_VERSION}")
