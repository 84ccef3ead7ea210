"""What a lake holds, to compare it with another."""

from __future__ import annotations

from pathlib import Path

from warehouse.lake import open_lake
from warehouse.schema import TABLES

CURATION_TABLES = ("videos", "packs", "frames", "rejects", "embeddings", "dedup", "clusters", "selections", "shards", "shard_frames")


def contents(lake: Path) -> dict[str, object]:
    """Every row and every file that curation makes, free of when and where it was made."""
    with open_lake(lake, read_only=True) as opened:
        tables = {}
        for table in CURATION_TABLES:
            columns = ", ".join(name for name in TABLES[table].names if name != "run_id")
            tables[table] = [str(row) for row in opened.rows(f"SELECT {columns} FROM {table} ORDER BY ALL")]
    files = {
        str(path.relative_to(lake)): path.read_bytes()
        for folder in ("frames", "shards")
        for path in sorted((lake / folder).rglob("*"))
        if path.is_file() and not (path.name.startswith(".") and path.name.endswith(".tmp"))  # what a killed writer leaves is never read
    }
    return {**tables, **files}


def count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.rglob(pattern))
