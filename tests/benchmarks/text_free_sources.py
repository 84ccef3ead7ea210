"""Videos without a letter in them, from real frames: slowed, steady, with instruments and highlights, capsule-like, in other colours."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from curation.phantom.config import PhantomConfig
from curation.phantom.patient import draw_patient
from curation.phantom.video import write_video

__all__ = ["cvc_sequences", "picture", "text_free_sources", "written_video"]

Frames = Iterable[np.ndarray]


def picture(path: Path) -> np.ndarray:
    """[height, width, 3] uint8 RGB."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)


def cvc_sequences(data: Path) -> list[list[Path]]:
    """The frames of CVC-ClinicDB by sequence, in order."""
    table = [line.split(",") for line in (data / "splits" / "cvc_clinicdb_sequences.csv").read_text().splitlines()[1:]]
    groups: dict[str, list[Path]] = {}
    for row in table:
        groups.setdefault(row[1], []).append(data / "cvc_clinicdb" / "images" / row[0])
    return list(groups.values())


def written_video(path: Path, frames: Frames, fps: int) -> Path:
    """Write RGB frames of one size as h264, cut to even sides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast"})
        stream.codec_context.gop_size, stream.codec_context.thread_count = 10, 1
        for number, frame in enumerate(frames):
            height, width = (side // 2 * 2 for side in frame.shape[:2])
            if not number:
                stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")))
        container.mux(stream.encode())
    return path


def text_free_sources(data: Path, folder: Path) -> Iterator[tuple[str, list[Path], float]]:
    """Name, videos, and samples per second of each source; what is made goes below `folder`."""
    videos, sequences = data / "videos", cvc_sequences(data)
    laparoscopy = sorted((videos / "laparoscopy").iterdir())
    yield "laparoscopy", laparoscopy, 5
    yield "laparoscopy, 30x slower", [written_video(folder / "slow.mp4", _decoded(laparoscopy[0], every=10), 1)], 1
    yield "laparoscopy in other codecs", sorted((videos / "codecs").iterdir())[::2], 1
    yield "colonoscopy, 29 clips", sorted((videos / "colonoscopy").iterdir()), 5
    makers: list[tuple[str, slice, Callable[[list[np.ndarray], int], Frames], int, float]] = [
        ("colonoscopy, 30x slower", slice(0, None, 6), lambda frames, _: (f for f in frames for _ in range(6)), 1, 0.5),
        ("colonoscopy, 30x slower, blended", slice(1, None, 12), lambda frames, _: _blended(frames, 6), 1, 0.5),
        ("one frame, steady for a minute", slice(0, None, 6), lambda frames, seed: _steady(frames[0], seed), 1, 0.5),
        ("instruments", slice(0, None, 4), _with_instrument, 5, 5),
        ("highlights", slice(1, None, 4), _with_highlights, 5, 5),
        *(
            (f"long highlight that {does}", slice(0, None, 2), functools.partial(_with_long_highlight, does=does), 5, 5.0)
            for does in ("stays", "flickers", "sways")
        ),
        ("capsule-like", slice(0, None, 4), _capsule, 2, 2),
        ("dye, NBI, BLI, ICG, grey", slice(0, None, 2), _colored, 5, 5),
    ]
    for number, (name, chosen, make, rate, fps) in enumerate(makers):
        paths = [
            written_video(folder / f"{number}_{seed}.mp4", make([picture(path) for path in sequence], seed), rate)
            for seed, sequence in list(enumerate(sequences))[chosen]
        ]
        yield name, paths, fps
    config = PhantomConfig(seed=11)
    silent = (p for p in itertools.count() if not any(_writes(draw_patient(p, seed=config.seed, size=config.size))))
    phantoms = [folder / f"phantom_{patient}.mp4" for patient in itertools.islice(silent, 4)]
    for path in phantoms:
        write_video(path, config=config, patient=int(path.stem.partition("_")[2]))
    yield "phantom", phantoms, 1


def _writes(patient: object) -> tuple[bool, bool]:
    return bool(getattr(patient, "text_inside")), bool(getattr(patient, "text_outside"))  # noqa: B009


def _decoded(path: Path, *, every: int) -> Iterator[np.ndarray]:
    """Each frame for as many seconds as a 30-fold slower camera shows it, at one frame a second."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0:
                yield from itertools.repeat(frame.to_ndarray(format="rgb24"), 12)


def _blended(frames: Sequence[np.ndarray], times: int) -> Iterator[np.ndarray]:
    for one, other in zip(frames, [*frames[1:], frames[-1]], strict=True):
        for step in range(times):
            yield np.asarray(cv2.addWeighted(one, 1 - step / times, other, step / times, 0), np.uint8)


def _steady(frame: np.ndarray, seed: int, num_frames: int = 60) -> Iterator[np.ndarray]:
    """A camera that is held: drifts of two pixels, breathing light, noise."""
    rng = np.random.default_rng(seed)
    height, width = frame.shape[:2]
    for number in range(num_frames):
        zoom, dx, dy = 1.05 + 0.02 * np.sin(number / 17), 2 * np.sin(number / 9), 1.5 * np.cos(number / 13)
        matrix = np.array([[zoom, 0, (1 - zoom) * width / 2 + dx], [0, zoom, (1 - zoom) * height / 2 + dy]], np.float32)
        moved = cv2.warpAffine(frame.astype(np.float32), matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        yield np.clip(moved * (1 + 0.03 * np.sin(number)) + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8)


def _with_instrument(frames: Sequence[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """A shaft with rings, a highlight and open jaws that moves a little."""
    rng = np.random.default_rng(seed)
    angle, width = rng.uniform(0, 6.28), int(rng.integers(14, 36))
    color = ((190, 190, 195), (60, 60, 64), (40, 90, 170), (210, 205, 150))[seed // 4 % 4]
    for number, frame in enumerate(frames):
        drawn = frame.copy()
        tip = np.array(drawn.shape[1::-1]) * (0.5 + 0.15 * np.sin(number / 5 + seed), 0.5 + 0.12 * np.cos(number / 7))
        turn = angle + 0.1 * np.sin(number / 6)
        along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        strokes: list[tuple[np.ndarray, np.ndarray, tuple[int, ...], int]] = [(tip, tip + along * 500, color, width)]
        strokes += [(tip - across * width / 4, tip - across * width / 4 + along * 500, tuple(min(255, c * 3 // 2) for c in color), 3)]
        for ring in range(4):
            middle = tip + along * (20 + 35 * ring)
            strokes += [(middle - across * width / 2, middle + across * width / 2, (20, 20, 20), 2)]
        strokes += [(tip, tip - along * 30 + across * side, (200, 200, 205), 5) for side in (-10, 10)]
        for start, end, stroke, thickness in strokes:
            cv2.line(drawn, tuple(map(int, start)), tuple(map(int, end)), stroke, thickness, cv2.LINE_AA)
        yield drawn


def _with_highlights(frames: Sequence[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """Small white spots that stay where the light is, as on wet tissue."""
    rng = np.random.default_rng(seed)
    spots = rng.uniform((0.2, 0.2, 2, 1, 0), (0.8, 0.8, 9, 5, 180), (25, 5))
    for frame in frames:
        white = np.zeros(frame.shape[:2], np.float32)
        for x, y, long, short, turn in spots[rng.random(len(spots)) < 0.8]:
            dx, dy = rng.normal(0, 1.5, 2)
            center = int(x * frame.shape[1] + dx), int(y * frame.shape[0] + dy)
            cv2.ellipse(white, center, (int(long), int(short)), turn, 0, 360, 1, -1, cv2.LINE_AA)
        opacity = cv2.GaussianBlur(white, (0, 0), 0.7)[..., None]
        yield np.clip(frame * (1 - opacity) + 250 * opacity, 0, 255).astype(np.uint8)


def _with_long_highlight(frames: Sequence[np.ndarray], seed: int, *, does: str) -> Iterator[np.ndarray]:
    """Twenty frames with a ragged row of white spots as long as a line of text, the same in each, flickering or swaying by three pixels."""
    rng = np.random.default_rng(seed)
    height, width = frames[0].shape[:2]
    x, y = rng.uniform(0.25, 0.5) * width, rng.uniform(0.3, 0.7) * height
    length, swing = rng.uniform(60, 130), rng.uniform(0, 4)
    spots = [
        (along, swing * np.sin(along / 7) + rng.normal(0, 1.2), int(rng.uniform(2, 6)), int(rng.uniform(1, 5)), rng.uniform(-20, 20))
        for along in np.arange(0, length, rng.uniform(3, 9))
    ]
    for number, frame in enumerate(frames[:20]):
        white = np.zeros((height, width), np.float32)
        left, top = (x + 3 * np.sin(number / 3), y + 3 * np.cos(number / 4)) if does == "sways" else (x, y)
        for along, across, long, short, turn in spots:
            if does == "flickers" and rng.random() > 0.8:
                continue
            dx, dy = rng.normal(0, 1.5, 2) if does == "flickers" else (0, 0)
            center = int(left + along + dx), int(top + across + dy)
            cv2.ellipse(white, center, (long, short), turn, 0, 360, 1, -1, cv2.LINE_AA)
        opacity = cv2.GaussianBlur(white, (0, 0), 0.8)[..., None]
        yield np.clip(frame * (1 - opacity) + 250 * opacity, 0, 255).astype(np.uint8)


def _capsule(frames: Sequence[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """Round, 320 pixels, turning, half of it dark, noisy."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:320, :320]
    radius = np.hypot(columns - 160, rows - 160)
    for number, frame in enumerate(frames):
        square = cv2.resize(frame[20:268, 70:318], (320, 320), interpolation=cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D((160, 160), 7 * number, 1.5)
        round_view = cv2.warpAffine(square, turn, (320, 320), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
        round_view *= (np.clip(1.15 - radius / 190, 0.1, 1) * (0.25 if number // 4 % 2 else 0.9))[..., None]
        noisy = round_view * np.array([0.95, 0.9, 0.55]) + rng.normal(0, 2.5, round_view.shape)
        noisy[radius > 150] = 0
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def _colored(frames: Sequence[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """One of eight imaging modes, by simple arithmetic on the channels."""
    for frame in frames:
        red, green, blue = (frame[..., channel].astype(np.float32) for channel in range(3))
        luma = 0.587 * green + 0.299 * red + 0.114 * blue
        modes = (
            [0.35 * c + 0.65 * luma * share for c, share in ((red, 0.35), (green, 0.75), (blue, 1.15))],  # indigo carmine
            [0.85 * green, 1.25 * green, blue],  # green NBI
            [1.35 * green, 0.575 * (blue + green), 0.95 * blue],  # brown NBI
            [0.7 * red, 1.1 * green, 1.3 * blue],  # BLI
            [0 * luma + 6, 0.9 * luma, 0 * luma + 8],  # ICG
            [luma, luma, luma],
            [0.75 * red, 0.5 * green, 0.25 * blue],  # Lugol
            [0.35 * c + 0.65 * (1.15 * luma + 15) for c in (red, green, blue)],  # acetic acid
        )
        yield np.clip(np.dstack(modes[seed // 2 % 8]), 0, 255).astype(np.uint8)
