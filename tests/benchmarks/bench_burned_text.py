"""How much burned-in text is found, and what else is hidden with it; on real endoscopy, against boxes marked by hand.

Usage: ENDOFORGE_REAL_DATA=... python -m tests.benchmarks.bench_burned_text [text_free] [stills] [drawn] [videos] [kinds]

Text-free: fifteen sources (tests/benchmarks/text_free_sources.py) through the first pass of ingest. One row each: videos, sampled frames,
mean share of the picture hidden, share of frames that lose anything, share of frames with an unconfirmed box, mean share of the worst
video, CPU milliseconds a frame. Targets: 0.05% of the area, 1% of the frames, no video above 2%; missed by long highlights, which no
evidence tells from a line in an unknown script.
Stills: 24 images of Kvasir-SEG with 117 lines marked by hand (tests/benchmarks/kvasir_text_lines.py). A line is found if at least 70% of
its box is hidden.
Drawn: every image of CVC-ClinicDB, which has no text of its own, as it is (whatever is hidden is hidden for nothing), and with one to four
lines drawn into it (numpy seed 1), 2.8 to 7% of its height, from hardly visible (15 of 255 brighter or darker) to clear (100), sharp or
blurred, and compressed. The peer, on the same pictures, is RapidOCR: the same network with the settings that are for reading.
Video: the clips of CVC-ClinicDB with text drawn into their frames in white, grey and yellow, and softly, 60 or 40 of 255 brighter, from the
middle on, through the whole of ingest; letters are found where the stored picture no longer shows them.
Kinds: five clips of CVC-ClinicDB with text of many kinds (tests/benchmarks/text_kinds.py) drawn into every frame, through the first pass of
ingest. A line is found in a frame if at least 70% of its box is hidden there. Typefaces that are not installed are left out.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.ingest.scan import scan_video
from curation.privacy import masks_by_sample, search_text
from curation.privacy.text_boxes import Box, blacked_out
from curation.sources.discover import hash_video
from curation.video import UnreadableVideo
from tests.benchmarks.kvasir_text_lines import LINES
from tests.benchmarks.text_free_sources import cvc_sequences, picture, text_free_sources, written_video
from tests.benchmarks.text_kinds import KINDS, Lines, with_text

DATA = Path(os.environ.get("ENDOFORGE_REAL_DATA", "."))
FOUND_SHARE = 0.7
FPS = 5
CLIP_SIZE = (288, 384)
"""height and width of the clips of CVC-ClinicDB"""
OVERLAY = ("MUELLER, ANNA", "12/03/1958 F 67", "ID 4711-0815")


def text_free() -> None:
    """What is hidden in videos without text."""
    with tempfile.TemporaryDirectory() as folder:
        for name, paths, fps in text_free_sources(DATA, Path(folder)):
            shares: list[list[float]] = []
            unconfirmed: list[bool] = []
            started = time.process_time()
            for path in paths:
                with tempfile.TemporaryFile() as spool:
                    scan = scan_video(str(path), IngestConfig(fps=fps), spool)
                assert not isinstance(scan, UnreadableVideo), scan
                shares.append([_share(sample.text_boxes or (), sample.stored_size) for sample in scan.samples])
                unconfirmed += [bool(sample.unconfirmed_boxes) for sample in scan.samples]
            every = np.concatenate(shares)
            each = (time.process_time() - started) / len(every)
            print(
                f"text-free, {name}: {len(paths)} videos, {len(every)} frames, {every.mean():.4%} hidden, "
                f"some in {(every > 0).mean():.1%}, unconfirmed in {np.mean(unconfirmed):.1%}"
                f", worst video {max(map(np.mean, shares)):.2%}, {each * 1000:.0f} ms"
            )


def _share(boxes: Iterable[Box], size: tuple[int, int]) -> float:
    return float(1 - np.count_nonzero(blacked_out(np.ones(size[::-1], np.uint8), tuple(boxes))) / (size[0] * size[1]))


def _masked(picture: np.ndarray) -> tuple[Box, ...]:
    """What ingest hides in a still."""
    (mask,) = masks_by_sample([search_text(picture, position=0)], 1)
    assert mask is not None
    return mask.boxes


def stills() -> None:
    """Lines found on single pictures, where nothing is known of other moments."""
    num_found = num_with_text = num_flagged = 0
    elsewhere: list[float] = []
    started = time.perf_counter()
    for name, lines in LINES.items():
        picture = np.asarray(cv2.imread(str(DATA / "kvasir_seg" / "images" / name), cv2.IMREAD_COLOR_RGB))
        hidden = _hidden(picture.shape, _masked(picture))
        marked = np.zeros(picture.shape[:2], bool)
        found = [hidden[y : y + h, x : x + w].mean() >= FOUND_SHARE for x, y, w, h in lines]
        for x, y, w, h in lines:
            marked[max(0, y - 4) : y + h + 4, max(0, x - 4) : x + w + 4] = True
        num_found += sum(found)
        num_with_text += bool(lines)
        num_flagged += any(found)
        elsewhere.append(float(np.logical_and(hidden, np.logical_not(marked)).mean()))
    num_lines = sum(map(len, LINES.values()))
    each = (time.perf_counter() - started) / len(LINES)
    print(f"stills, Kvasir-SEG: {num_found} of {num_lines} lines hidden, recall {num_found / num_lines:.3f}")
    print(f"  images with text in which a line was found: {num_flagged} of {num_with_text}")
    print(f"  share of the picture hidden elsewhere: {np.mean(elsewhere):.4f} (worst {max(elsewhere):.4f}); {each * 1000:.0f} ms a picture")


CONTRASTS = (15, 25, 40, 60, 100)
WORDS = ("MUELLER, ANNA", "12/03/1958 F 67", "ID 4711-0815", "J. Smith", "2021-04-09 10:33:15", "Dr. Weber", "Age:54 Sex:M", "K-2291")


def drawn() -> None:
    """Lines found that were drawn into pictures without text, and what is hidden of these pictures as they are."""
    ways = {"EndoForge": lambda picture: _hidden(picture.shape, _masked(picture)), "RapidOCR": _rapidocr()}
    rng = np.random.default_rng(1)
    plain: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[bool]] = {name: [] for name in ways}
    contrasts: list[int] = []
    for number, path in enumerate(sorted((DATA / "cvc_clinicdb" / "images").iterdir())):
        picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)
        contrast = CONTRASTS[number % len(CONTRASTS)]
        written, lines = _written(picture, contrast, rng)
        contrasts += [contrast] * len(lines)
        for name, hide in ways.items():
            plain[name].append(float(hide(picture).mean()))
            hidden = hide(written)
            found[name] += [bool(hidden[top:bottom, left:right].mean() >= FOUND_SHARE) for left, top, right, bottom in lines]
    print(f"drawn into CVC-ClinicDB: {len(contrasts)} lines; hidden of them, and of {len(plain['EndoForge'])} pictures without text")
    for name in ways:
        hit, shares = np.array(found[name]), np.array(plain[name])
        by_contrast = ", ".join(f"{level}: {hit[np.array(contrasts) == level].mean():.3f}" for level in CONTRASTS)
        print(f"  {name}: {hit.mean():.3f} (by contrast {by_contrast})")
        print(f"    no text: some in {(shares > 0).mean():.3f} of pictures, {shares.mean():.4f} of the area (worst {shares.max():.3f})")
    ratio = np.mean(found["EndoForge"]) / np.mean(found["RapidOCR"])
    print(
        f"  recall {ratio:.2f} of the peer's, area hidden for nothing {np.mean(plain['EndoForge']) / np.mean(plain['RapidOCR']):.2f} of it"
    )


def _hidden(shape: tuple[int, ...], boxes: Iterable[tuple[int, int, int, int]]) -> np.ndarray:
    hidden = np.zeros(shape[:2], bool)
    for x, y, width, height in boxes:
        hidden[max(0, y) : y + height, max(0, x) : x + width] = True
    return hidden


def _rapidocr() -> Callable[[np.ndarray], np.ndarray]:
    """The rectangles around what RapidOCR finds."""
    logging.disable(logging.WARNING)  # one a picture without text
    from rapidocr import RapidOCR

    engine = RapidOCR()

    def hide(picture: np.ndarray) -> np.ndarray:
        answer = engine(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), use_det=True, use_cls=False, use_rec=False)
        corners = getattr(answer, "boxes", None)
        boxes = [cv2.boundingRect(np.asarray(quad, np.float32)) for quad in (() if corners is None else corners)]
        return _hidden(picture.shape, [(int(x), int(y), int(width), int(height)) for x, y, width, height in boxes])

    return hide


def _written(picture: np.ndarray, contrast: int, rng: np.random.Generator) -> tuple[np.ndarray, Lines]:
    """The picture, enlarged up to twofold, with lines of text; and their boxes as left, top, right, bottom."""
    scale = float(rng.uniform(1, 2))
    large = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.float32)
    height, width = large.shape[:2]
    size = int(rng.uniform(0.028, 0.07) * height)
    font = ImageFont.load_default(size)
    layer = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(layer)
    x, y = int(rng.uniform(0.12, 0.5) * width), int(rng.uniform(0.12, 0.6) * height)
    lines: Lines = []
    for number in range(int(rng.integers(1, 5))):
        place, words = (x, y + int(number * size * 1.15)), WORDS[int(rng.integers(len(WORDS)))]
        pen.text(place, words, font=font, fill=255)
        left, top, right, bottom = pen.textbbox(place, words, font=font)
        lines.append((int(left), int(top), min(width, int(right)), min(height, int(bottom))))
    opacity = np.asarray(layer, np.float32) / 255
    if blur := float(rng.choice([0, 0, 0.6, 1.0, 1.5])):
        opacity = np.asarray(cv2.GaussianBlur(opacity, (0, 0), blur))
    step = contrast if rng.random() < 0.75 else -contrast
    written = np.clip(large + step * opacity[..., None], 0, 255).astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(written, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, int(rng.choice([40, 70, 90]))])
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)), lines


class Overlay(NamedTuple):
    color: tuple[int, int, int] = (0, 0, 0)
    step: int = 0
    """by which the letters are brighter than what is behind them, and blurred as if enlarged; in place of a colour"""
    start: float = 0.0
    """share of the clip before it appears"""


OVERLAYS = {
    "white": Overlay((255, 255, 255)),
    "grey": Overlay((170, 170, 170)),
    "yellow": Overlay((90, 230, 230)),
    "soft, 60 brighter, from the middle on": Overlay(step=60, start=0.5),
    "soft, 40 brighter, from the middle on": Overlay(step=40, start=0.5),
    "none": Overlay(start=1.0),
}


def videos() -> None:
    """Letters left in the stored frames of clips with an overlay, and what is hidden in clips without one."""
    for name, overlay in OVERLAYS.items():
        left: list[float] = []
        shares: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            for number, frames in enumerate(cvc_sequences(DATA)):
                path = Path(folder, f"{number}.mp4")
                letters, first = _film(path, frames, overlay)
                config = IngestConfig(fps=5, max_hash_distance=0, freeze_motion=0, min_blur=0)
                result = ingest_video(hash_video(str(path)), lake_root=folder, config=config)
                assert result.video is not None
                rows = pq.read_table(Path(folder, str(result.frames_part))).to_pylist()
                shares += [row["text_share"] for row in rows if row["text_share"] is not None]
                if result.pack is None:
                    continue
                content = Path(folder, result.pack.path).read_bytes()
                for row in rows:
                    if row["keep"] and row["frame_index"] >= first:
                        jpeg = np.frombuffer(content[row["byte_offset"] : row["byte_offset"] + row["byte_size"]], np.uint8)
                        stored = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE))
                        crop = letters[row["crop_y"] : row["crop_y"] + stored.shape[0], row["crop_x"] : row["crop_x"] + stored.shape[1]]
                        left.append(float((stored[crop] > 40).mean()))
        hidden = f"{1 - np.mean(left):.4f} of the letters' pixels hidden in {len(left)} frames, " if left else ""
        print(
            f"video, overlay {name}: {hidden}{np.mean(shares):.4f} of the picture hidden, some in {np.mean(np.array(shares) > 0):.3f} "
            f"of {len(shares)} frames (worst {max(shares):.3f})"
        )


def _film(path: Path, frames: list[Path], overlay: Overlay) -> tuple[np.ndarray, int]:
    """Write the frames with the overlay; returns where the letters are, [height, width] bool, and the first frame with them."""
    letters = np.zeros((288, 384), np.uint8)
    for number, line in enumerate(OVERLAY):
        cv2.putText(letters, line, (70, 60 + 22 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(letters, (0, 0), 0.8) if overlay.step else letters
    opacity, first = soft[..., None].astype(np.float32) / 255, round(overlay.start * len(frames))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt, stream.options = 384, 288, "yuv420p", {"crf": "18"}
        for position, frame in enumerate(frames):
            picture = np.asarray(cv2.imread(str(frame)), np.float32)
            if position >= first:
                picture += opacity * (overlay.step or np.array(overlay.color) - picture)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="bgr24")))
        container.mux(stream.encode())
    return np.asarray(letters > 128), first


def kinds() -> None:
    """Lines hidden in clips by the kind of text."""
    clips = [[picture(path) for path in sequence] for sequence in cvc_sequences(DATA)[::6]]
    for name, kind in KINDS.items():
        found: list[bool] = []
        clip_means: list[float] = []
        try:
            with tempfile.TemporaryDirectory() as folder:
                for number, frames in enumerate(clips):
                    written = [with_text(frame, kind, position, FPS) for position, frame in enumerate(frames)]
                    path = written_video(Path(folder, f"{number}.mp4"), (frame for frame, _ in written), FPS)
                    hits = _lines_hidden(path, [lines for _, lines in written])
                    found += hits
                    clip_means.append(float(np.mean(hits)))
        except OSError as failure:
            print(f"kind, {name}: not measured, {failure} ({kind.typeface})")
            continue
        unseen = sum(mean == 0 for mean in clip_means)
        print(f"kind, {name}: {np.mean(found):.3f} of {len(found)} lines in {len(clips)} clips, nothing in {unseen} of them", flush=True)


def _lines_hidden(path: Path, lines: list[Lines]) -> list[bool]:
    """Whether each line of each frame is hidden."""
    with tempfile.TemporaryFile() as spool:
        scan = scan_video(str(path), IngestConfig(fps=FPS), spool)
    assert not isinstance(scan, UnreadableVideo), scan
    found = []
    for sample in scan.samples:
        x, y, (width, height) = sample.area.x, sample.area.y, sample.stored_size
        hidden = np.ones(CLIP_SIZE, bool)  # what is outside the content area is not stored
        hidden[y : y + height, x : x + width] = _hidden((height, width), sample.text_boxes or ())
        found += [bool(hidden[top:bottom, left:right].mean() >= FOUND_SHARE) for left, top, right, bottom in lines[sample.frame_index]]
    return found


if __name__ == "__main__":
    parts = {part.__name__: part for part in (text_free, stills, drawn, videos, kinds)}
    for chosen in sys.argv[1:] or parts:
        parts[chosen]()
