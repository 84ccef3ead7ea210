"""Snapshots of a lake: what each commit changed, names that keep one from expiring, and which one a person means."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.store import read_json, write_json

if TYPE_CHECKING:
    from warehouse.lake import Lake

__all__ = ["Moment", "Snapshot", "SnapshotError", "list_snapshots", "moment_of", "read_tags", "remove_tag", "tag_snapshot"]

_TAGS = "tags.json"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


class SnapshotError(ValueError):
    """A snapshot or a tag that there is not, or a name that cannot be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One commit."""

    version: int
    made_at: datetime.datetime
    message: str
    """run that made it, where a run did"""
    changes: str
    """tables that it changed, such as `frames, videos`"""
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Which state of a lake is asked for: one of the two is given."""

    version: int | None = None
    time: datetime.datetime | None = None

    @property
    def option(self) -> str:
        """The option of DuckLake's ATTACH."""
        if self.version is not None:
            return f"SNAPSHOT_VERSION {self.version}"
        assert self.time is not None
        return f"SNAPSHOT_TIME '{self.time.isoformat(sep=' ')}'"


def list_snapshots(lake: Lake) -> list[Snapshot]:
    """Every snapshot that has not expired, the oldest first."""
    tags = read_tags(lake.root)
    rows = lake.rows(
        """SELECT snapshot_id, snapshot_time, commit_message, flatten(map_values(changes)) AS changes
           FROM ducklake_snapshots('lake') ORDER BY snapshot_id"""
    )
    names = {str(row["table_id"]): row["table_name"] for row in lake.rows("SELECT table_id, table_name FROM ducklake_table_info('lake')")}
    return [
        Snapshot(
            version=row["snapshot_id"],
            made_at=row["snapshot_time"],
            message=row["commit_message"] or "",
            changes=_changed(row["changes"], names),
            tags=tuple(sorted(name for name, version in tags.items() if version == row["snapshot_id"])),
        )
        for row in rows
    ]


def read_tags(root: Path) -> dict[str, int]:
    """Versions by tag; a lake's tags lie in its `tags.json` and move with it."""
    path = root / _TAGS
    return {str(name): int(version) for name, version in read_json(path).items()} if path.is_file() else {}


def tag_snapshot(lake: Lake, name: str, version: int | None = None) -> int:
    """Give a snapshot a name, which keeps it from expiring; the latest unless `version` is given.

    Raises:
        SnapshotError: the name cannot be one or names another snapshot, or there is no such snapshot.
    """
    if not _NAME.fullmatch(name):
        raise SnapshotError(f"tag {name!r} is no name; begin with a letter and use letters, digits, dot, dash and underscore")
    with lake.alone():  # it must not expire between the look and the tag
        known = [row["snapshot_id"] for row in lake.rows("SELECT snapshot_id FROM ducklake_snapshots('lake')")]
        chosen = max(known) if version is None else version
        if chosen not in known:
            raise SnapshotError(f"there is no snapshot {chosen}; `endoforge snapshots` lists those that have not expired")
        tags = read_tags(lake.root)
        if tags.get(name, chosen) != chosen:
            raise SnapshotError(f"tag {name!r} names snapshot {tags[name]} already; give another name, or remove that one with --untag")
        write_json(lake.root / _TAGS, tags | {name: chosen})
    return chosen


def remove_tag(lake: Lake, name: str) -> None:
    """Take a name away; its snapshot expires like others.

    Raises:
        SnapshotError: there is no such tag.
    """
    with lake.alone():
        tags = read_tags(lake.root)
        if name not in tags:
            raise SnapshotError(f"there is no tag {name!r}; the tags are {', '.join(sorted(tags)) or 'none'}")
        del tags[name]
        write_json(lake.root / _TAGS, tags)


def moment_of(root: Path, text: str) -> Moment:
    """The state that a person names: a version, a tag, or a time such as 2026-11-28 or 2026-11-28T12:30 (UTC unless it says otherwise).

    Raises:
        SnapshotError: it is none of these.
    """
    if text.isdecimal():
        return Moment(version=int(text))
    tags = read_tags(root)
    if text in tags:
        return Moment(version=tags[text])
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise SnapshotError(
            f"{text!r} is no version, tag or time; give a number of `endoforge snapshots`, one of the tags "
            f"({', '.join(sorted(tags)) or 'there are none'}), or a time such as 2026-11-28T12:30"
        ) from None
    return Moment(time=time if time.tzinfo else time.replace(tzinfo=datetime.UTC))


def _changed(changes: list[str], names: dict[str, str]) -> str:
    """DuckLake names tables by id where rows came or went, and by name where a table was made."""
    return ", ".join(sorted({names.get(change, "") if change.isdecimal() else change.rpartition(".")[2] for change in changes} - {""}))
