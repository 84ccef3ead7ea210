"""Whatever a video was found as, a scan of it: objects are fetched and DICOM files unwrapped for as long as that takes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from curation.ingest.config import IngestConfig
from curation.ingest.scan import Scan, scan_video
from curation.ingest.stills import scan_stills
from curation.sources import LeftForLater, current_version, fetch, identify, is_uri, scratch_folder, source_file, withheld
from curation.video import UnreadableVideo
from warehouse.records import Left, VideoInfo, VideoRef

__all__ = ["is_dicom", "local_copy", "refuse_changed", "scan_source"]

_DICOM_PREAMBLE_BYTES = 128
_DICOM_SUFFIXES = (".dcm", ".dicom")


def scan_source(
    video: VideoRef, config: IngestConfig, spool: IO[bytes], *, scratch: Path, key: bytes | None
) -> tuple[Scan | UnreadableVideo, VideoInfo | None]:
    """Scan a video of any kind; what is wrong with it is returned, and beside the scan what the file's own header says of it.

    Args:
        video: what to scan, identified.
        config: see there.
        spool: takes the JPEGs.
        scratch: folder for what is needed meanwhile.
        key: of the pseudonyms of a DICOM file's patient and study; without one they are left out.

    Raises:
        LeftForLater: the content is not what was identified any more, or the file system or the store does not give it.
        OSError: the spool or the scratch folder cannot be written.
    """
    try:
        with local_copy(video, config, scratch) as local:
            scan, info = _scan_local(local, config, spool, scratch, key)
    except UnreadableVideo as failure:
        scan, info = failure, None
    refuse_changed(video)
    return scan, info


def refuse_changed(video: VideoRef) -> None:
    """Stop if a local video is not what was identified any more.

    Raises:
        LeftForLater: it has changed, or cannot be read now.
    """
    if is_uri(video.path) or video.version is None or current_version(video) == video.version:
        return
    now = identify(replace(video, version=current_version(video)))
    if isinstance(now, Left):
        raise LeftForLater(now)
    if now.video_id != video.video_id:
        raise LeftForLater(Left(reason="changed", detail="changed while it was decoded"))


def _scan_local(
    video: VideoRef, config: IngestConfig, spool: IO[bytes], scratch: Path, key: bytes | None
) -> tuple[Scan | UnreadableVideo, VideoInfo | None]:
    if video.images:
        return scan_stills([Path(image) for image in video.images], config, spool), None
    if not is_dicom(Path(video.path)):
        return scan_video(video.path, config, spool), None
    from curation.video import extract_stream

    with scratch_folder(scratch) as folder:
        stream = folder / "stream"
        dicom = extract_stream(Path(video.path), stream, key)
        scan = scan_video(str(stream), config, spool)
    if isinstance(scan, Scan):
        scan.report.problems.extend([dicom.problem] if dicom.problem else [])
        scan = replace(scan, header=replace(scan.header, container=f"dicom/{scan.header.container}"))
    return scan, dicom.info


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's preamble, or its name and some content."""
    with source_file(str(path)) as file:
        head = file.read(_DICOM_PREAMBLE_BYTES + 4)
    return head[_DICOM_PREAMBLE_BYTES:] == b"DICM" or (path.suffix.lower() in _DICOM_SUFFIXES and len(head) > 0)


@contextlib.contextmanager
def local_copy(video: VideoRef, config: IngestConfig, scratch: Path) -> Iterator[VideoRef]:
    """The video on a local disk: itself, or copies of its objects that are removed afterwards."""
    if not is_uri(video.path):
        yield video
        return
    limit_bytes = int(config.cache_gb * 1e9)
    if video.num_bytes > limit_bytes:
        size = f"{video.num_bytes / 1e9:.3g} GB"
        raise UnreadableVideo("too_large", f"{size} do not fit into cache_gb={config.cache_gb:g}; raise the limit to take them")
    with scratch_folder(scratch, num_bytes=video.num_bytes, limit_bytes=limit_bytes) as folder:
        places = video.images or (video.path,)
        copies = [folder / f"{number:08d}{_suffix(place)}" for number, place in enumerate(places)]
        try:
            for place, copy in zip(places, copies, strict=True):
                fetch(place, copy)
        except OSError as error:
            raise LeftForLater(withheld(error)) from error
        names = tuple(map(str, copies))
        local = replace(video, path=names[0], version=None, images=names if video.images else ())
        fetched = identify(local)
        if isinstance(fetched, Left):
            raise LeftForLater(fetched)
        if fetched.video_id != video.video_id:
            raise LeftForLater(Left(reason="changed", detail="changed before it was fetched"))
        yield local


def _suffix(uri: str) -> str:
    """The end of an object's name where it is an ordinary one: decoders look at it, and an object's name may hold anything."""
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", uri)
    return found[0] if found else ""
