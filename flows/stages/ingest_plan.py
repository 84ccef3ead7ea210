"""What an ingest has to do: which of the files found are new, known, moved, or copies of others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from curation.ingest import IngestConfig, ingest_key
from curation.sources import is_gone, is_uri, local_path, look_up
from flows.stages.inventory import Inventory
from warehouse.lake import Lake
from warehouse.queries import accounted_files, given_up_files
from warehouse.records import VideoRef

__all__ = ["Decided", "GivenUp", "IngestPlan", "decided_before", "plan_ingest"]

GivenUp = Mapping[tuple[str, str | None], str]
"""where each file that was given up was last found, by the (uri, video id) of its reject"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPlan:
    """The files found, sorted by what becomes of them."""

    new: tuple[VideoRef, ...]
    duplicates: tuple[VideoRef, ...]
    """copies of a video that is known or new, under another name"""
    moved: tuple[str, ...]
    """places where a known video was before, and is no more"""
    num_known: int
    """already decided with the same settings, without those that moved"""
    num_known_rejected: int
    """known files that an earlier ingest rejected"""
    given_up: GivenUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What earlier ingests with the same settings have decided, as it was before this one read anything."""

    first_of: Mapping[str, str]
    """where each ingested content was last found, by video id"""
    rejected: Set[tuple[str, str | None]]
    """URIs and video ids of the rejected files"""
    given_up: GivenUp


def decided_before(lake: Lake, config: IngestConfig) -> Decided:
    """Ask the lake."""
    key = ingest_key(config)
    first_of, rejected = accounted_files(lake, key)
    return Decided(first_of=first_of, rejected=rejected, given_up=given_up_files(lake, key))


def plan_ingest(before: Decided, inventory: Inventory, *, retry_failed: bool) -> IngestPlan:
    """Compare an inventory with what was decided before; with `retry_failed`, what was given up is new.

    Raises:
        OSError: a store that holds earlier copies does not answer.
    """
    first_of, rejected, given_up = dict(before.first_of), before.rejected, before.given_up
    places = {video_id: place for (_, video_id), place in given_up.items() if video_id is not None}
    ids = {video.uri: video.video_id for video in inventory.videos if video.video_id}
    found_ids = set(ids.values())
    gone = _gone(
        place
        for video_id, place in itertools.chain(first_of.items(), places.items())
        if video_id in found_ids and place not in ids and place not in inventory.left
    )

    def holds(place: str, video_id: str) -> bool:
        return ids[place] == video_id if place in ids else place not in gone

    if retry_failed:
        # a copy of what is gone stands for it
        lost = {video_id for video_id, place in places.items() if video_id not in found_ids or not holds(place, video_id)}
        rejected = {pair for pair in rejected - given_up.keys() if pair[1] not in lost}
    else:
        first_of = places | first_of
    new: list[VideoRef] = []
    duplicates: list[VideoRef] = []
    moved: list[str] = []
    num_known = num_known_rejected = 0
    for video in inventory.videos:
        first = first_of.get(video.video_id)
        is_rejected = (video.uri, video.video_id or None) in rejected
        if first is None and not is_rejected:
            if video.video_id:  # what is not a file is rejected by ingest
                first_of[video.video_id] = video.uri
            new.append(video)
        elif first is not None and first != video.uri and not holds(first, video.video_id):
            first_of[video.video_id] = video.uri
            moved.append(first)
        elif first in (None, video.uri) or is_rejected:
            num_known += 1
            num_known_rejected += is_rejected
        else:
            duplicates.append(video)
    return IngestPlan(
        new=tuple(new),
        duplicates=tuple(duplicates),
        moved=tuple(moved),
        num_known=num_known,
        num_known_rejected=num_known_rejected,
        given_up=given_up,
    )


def _gone(places: Iterable[str]) -> set[str]:
    """Those of the places that hold nothing any more; what cannot be looked at now is not gone. Stores are asked once a folder."""
    paths = {place: local_path(place) for place in places}
    remote = [path for path in paths.values() if is_uri(path)]
    there = look_up(remote) if remote else {}
    return {place for place, path in paths.items() if (path not in there if is_uri(path) else is_gone(path))}
