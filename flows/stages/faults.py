"""Failures for which a machine or an installed filter is to blame: the files are left for the next run, and the end of the run says so."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from curation.filters import FilterFailed
from curation.sources import withheld
from flows.runners import Failure, say
from warehouse.records import Left

__all__ = ["left_by", "raise_if_filter_failed", "say_what_is_left"]

_MEANING = {
    "being_written": "are still being written",
    "changed": "changed meanwhile",
    "missing": "are not there",
    "no_access": "may not be read",
    "unreachable": "are out of reach: their file system or store does not answer",
    "io_error": "could not be read because of a fault of the disk or network",
    "not_mounted": "were given to a machine that does not see the files or the lake, or lacks a filter",
    "worker_lost": "lost their worker several times",
    "filter_failed": "have a frame on which an installed filter fails",
}
_SHOWN = 3


def left_by(failure: Failure[Any]) -> Left | None:
    """Why an item is left for the next run; None if the failure is the item's own.

    Raises:
        OSError: this machine has no room, memory or file handles left.
    """
    if failure.reason == "misplaced":
        where = f" (Ray node {failure.node[:12]})" if failure.node else ""
        return Left(reason="not_mounted", detail=f"{failure.detail}{where}")
    if failure.reason == "lost":
        return Left(reason="worker_lost", detail=failure.detail)
    if failure.errno is not None and failure.errno in errno.errorcode:
        return withheld(OSError(failure.errno, os.strerror(failure.errno)))
    return None


def say_what_is_left(left: Mapping[str, Left]) -> None:
    """A line for each reason, with a few of the files; the table `left_files` has all."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for uri, why in sorted(left.items()):
        by_reason[why.reason].append(uri)
    for reason, uris in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        details = sorted({left[uri].detail for uri in uris})
        shown = "; ".join(f"{uri} ({left[uri].detail})" for uri in uris[:_SHOWN])
        more = f"; {len(uris) - _SHOWN} more" if len(uris) > _SHOWN else ""
        also = [detail for detail in details if detail not in {left[uri].detail for uri in uris[:_SHOWN]}][:_SHOWN]
        say(f"left for the next run: {len(uris)} files {_MEANING[reason]}: {shown}{more}" + (f" ({'; '.join(also)})" if also else ""))
    if len(left) > _SHOWN:
        say('endoforge sql "FROM left_files" lists every file that is left, and why')


def raise_if_filter_failed(left: Mapping[str, Left]) -> None:
    """End an ingest, when all that it could decide is recorded, because an installed filter failed.

    Raises:
        FilterFailed: it did; the message names the filter, its package, the first error and how many files are left.
    """
    failed = [(uri, why.detail) for uri, why in left.items() if why.reason == "filter_failed"]
    if failed:
        uri, detail = failed[0]
        raise FilterFailed(
            f"{detail} (at {uri}); {len(failed)} of the files are left for the next run, and all others are done: "
            "repair or uninstall its package and type the same command again"
        )
