"""A video read twice: scanned for what nobody may be shown, as ingest scans it, and then played frame by frame at its own size."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, cast

import cv2
import numpy as np

from curation.ingest.config import IngestConfig
from curation.ingest.decide import decide
from curation.ingest.scan import Sample, scan_video
from curation.ingest.source import is_dicom, local_copy, refuse_changed
from curation.ingest.stills import GreyReader, high_byte, holds_sixteen_bits, pages_of, read_page, scan_stills
from curation.privacy import Box, blacked_out, privacy_reasons
from curation.sources import scratch_folder
from curation.video import SampledFrame, UnreadableVideo, VideoProbe, choose_sampling, extract_stream, index_packets, sample_frames
from warehouse.records import VideoRef

__all__ = ["Playback", "content_mask", "opened_for_playback", "opened_stream", "visible_mask"]

_SPOOL_MEMORY_BYTES = 16 << 20
_MARGIN = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Playback:
    """A video that was scanned and can be played."""

    video: VideoRef
    """on a local disk, unwrapped; only to be read while the playback is open"""
    source: VideoRef
    """as it was given"""
    header: VideoProbe
    in_time: bool
    """frames are moments of one video; not so with stills"""
    samples: Mapping[int, Sample]
    """what the scan found, by frame index; the frames that are played"""
    damaged_images: MutableMapping[int, str]
    """of stills: what is wrong with those that are damaged or cannot be read, by position; playing adds to it"""
    problems: tuple[str, ...]
    """what was wrong with the video, in sentences"""
    config: IngestConfig
    pages: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """of stills: number of the image and of its page, by frame index"""
    grey: GreyReader = high_byte
    """how stills of 16 bits become pictures of 8"""
    stored_hashes: Mapping[int, int] = field(default_factory=dict)
    """perceptual hashes of what ingest would store, by frame index, where that is read otherwise"""
    withheld: Mapping[int, str] = field(default_factory=dict)
    """why a frame may not be shown though the scan would let it, by frame index"""

    def frames(self) -> Iterator[SampledFrame]:
        """The frames [height, width, 3] uint8 RGB, in order, whole and as they are: nothing is hidden in them yet.

        Raises:
            UnreadableVideo: it cannot be read again.
            LeftForLater: after the last frame, if the file is not what was scanned; then the wrong parts may have been hidden.
        """
        yield from self._moments() if self.in_time else self._stills()
        refuse_changed(self.source)

    def _stills(self) -> Iterator[SampledFrame]:
        images = [Path(image) for image in self.video.images]
        for page in pages_of(images, self.config):
            if page.position in self.samples:
                try:
                    rgb = read_page(images, page, self.grey)
                except ValueError as error:
                    self.damaged_images.setdefault(page.image, str(error))
                    continue
                yield SampledFrame(frame_index=page.position, pts_us=self.samples[page.position].pts_us, rgb=rgb)

    def _moments(self) -> Iterator[SampledFrame]:
        index = index_packets(self.video.path, max_packets=self.config.max_frames)
        sampling = choose_sampling(index, fps=self.config.fps, keyframes=self.config.keyframes, all_frames=self.config.all)
        told = {"fps": sampling.fps, "keyframes": sampling.keyframes, "thorough": bool(self.problems)}
        yield from sample_frames(self.video.path, decoder="pyav", index=index, **told)  # type: ignore[arg-type]

    def hidden(self, frame_index: int) -> str | None:
        """Why nothing of a frame may be shown; None where `visible_mask` says what may.

        A frame that the scan did not see, that is damaged, or too dark to tell a room, is among them: nobody has looked for text or a room.
        """
        sample = self.samples.get(frame_index)
        if sample is None:
            return "unchecked"
        if sample.drop_reason in (*privacy_reasons(), "corrupt"):
            return sample.drop_reason
        if math.isnan(sample.out_of_body):
            return "out_of_body_unchecked"
        return self.withheld.get(frame_index)


@contextlib.contextmanager
def opened_for_playback(video: VideoRef, config: IngestConfig, *, scratch: Path, grey: GreyReader = high_byte) -> Iterator[Playback]:
    """Scan a video of any kind: a file, a DICOM file of a video, or stills.

    Args:
        video: what to play, identified.
        config: rates and thresholds; text is blacked out where they say so, and no doubtful box waits for an audit.
        scratch: folder for what is needed meanwhile.
        grey: how stills of 16 bits become pictures of 8. What is shown is what is scanned for text; if that is not what ingest stores,
            the stills are scanned once more for its hashes, by which removed pictures are known.

    Raises:
        UnreadableVideo: it gives no frame.
        LeftForLater: the file system withholds it.
        OSError: the scratch folder cannot be written.
    """
    config = replace(config, decoder="pyav", store_private=False)
    with opened_stream(video, config, scratch=scratch) as (local, container, problems):
        with SpooledTemporaryFile(_SPOOL_MEMORY_BYTES, dir=str(scratch)) as file:
            spool = cast(IO[bytes], file)
            images = [Path(image) for image in local.images]
            found = scan_stills(images, config, spool, grey) if images else scan_video(local.path, config, spool)
        if isinstance(found, UnreadableVideo):
            raise found
        decide(found.samples, config, in_time=found.in_time)
        is_read_otherwise = grey is not high_byte and holds_sixteen_bits(images)
        yield Playback(
            video=local,
            source=video,
            header=replace(found.header, container=f"{container}{found.header.container}"),
            in_time=found.in_time,
            samples={sample.frame_index: sample for sample in found.samples},
            damaged_images=dict(found.damaged_images),
            problems=(*problems, *found.report.problems),
            config=config,
            pages={} if found.in_time else _pages(local, config),
            grey=grey,
            stored_hashes=_stored_hashes(images, config, scratch) if is_read_otherwise else {},
        )


def _stored_hashes(images: list[Path], config: IngestConfig, scratch: Path) -> dict[int, int]:
    with SpooledTemporaryFile(_SPOOL_MEMORY_BYTES, dir=str(scratch)) as file:
        return {sample.frame_index: sample.phash for sample in scan_stills(images, config, cast(IO[bytes], file)).samples}


@contextlib.contextmanager
def opened_stream(video: VideoRef, config: IngestConfig, *, scratch: Path) -> Iterator[tuple[VideoRef, str, tuple[str, ...]]]:
    """A video of any kind as a local file that decoders read: objects are fetched and DICOM files unwrapped.

    Gives also what comes before the container's name, dicom/ or nothing, and what was wrong with the file.

    Raises:
        UnreadableVideo: it holds no stream.
        LeftForLater: the file system or the store withholds it.
        OSError: the scratch folder cannot be written.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as open_things:
        local = open_things.enter_context(local_copy(video, config, scratch))
        container = ""
        problems: tuple[str, ...] = ()
        if not local.images and is_dicom(Path(local.path)):
            stream = open_things.enter_context(scratch_folder(scratch)) / "stream"
            problem = extract_stream(Path(local.path), stream, None).problem
            problems, container = ((problem,) if problem else ()), "dicom/"
            local = replace(local, path=str(stream), version=None)
        yield local, container, problems


def _pages(video: VideoRef, config: IngestConfig) -> dict[int, tuple[int, int]]:
    return {page.position: (page.image, page.page) for page in pages_of([Path(image) for image in video.images], config)}


def visible_mask(sample: Sample, shape: tuple[int, int]) -> np.ndarray:
    """[height, width] uint8 of a frame of `shape` = (height, width): 255 where it may be shown, 0 where ingest would store black.

    That is outside the content area, in insets, and in the boxes over text; a box is one pixel of the stored frame wider here.
    """
    return np.zeros(shape, np.uint8) if sample.text_boxes is None else _placed(sample, shape, sample.text_boxes)


def content_mask(sample: Sample, shape: tuple[int, int]) -> np.ndarray:
    """[height, width] uint8 of a frame of `shape` = (height, width): 255 in the content area, text in it or not, and 0 in insets."""
    return _placed(sample, shape, ())


def _placed(sample: Sample, shape: tuple[int, int], boxes: tuple[Box, ...]) -> np.ndarray:
    """The content area on the frame, without boxes in pixels of the stored frame."""
    placed = np.zeros(shape, np.uint8)
    if sample.stored_mask is None:
        return placed
    stored = blacked_out(sample.stored_mask.copy(), boxes)
    area = sample.area
    if (area.width, area.height) != sample.stored_size:
        stored = np.asarray(cv2.erode(stored, _MARGIN, borderType=cv2.BORDER_CONSTANT, borderValue=255))
    inside = placed[area.y : area.y + area.height, area.x : area.x + area.width]
    inside[:] = cv2.resize(stored, (inside.shape[1], inside.shape[0]), interpolation=cv2.INTER_NEAREST)
    return placed
