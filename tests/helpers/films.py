"""Drawn tissue and rooms, and videos of them with text outside the content area."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np

HEIGHT, WIDTH = 192, 256


def octagon() -> np.ndarray:
    ys, xs = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = (np.abs(xs - 128) < 110) & (np.abs(ys - 96) < 90)
    return np.asarray(inside & (np.abs(xs - 128) + np.abs(ys - 96) < 150))


def tissue(seed: int, *, contrast: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    waves = cv2.resize(rng.normal(0, 1, (HEIGHT // 4, WIDTH // 4)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.stack([160 + 35 * contrast * waves, 85 + 22 * contrast * waves, 65 + 18 * contrast * waves], axis=2)


def room(seed: int) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), (110, 115, 110), np.float64)
    rng = np.random.default_rng(seed)
    for _ in range(6):
        x, y = rng.integers(20, 200), rng.integers(20, 140)
        picture[y : y + 50, x : x + 60] = rng.choice([(40, 90, 160), (60, 140, 90), (220, 220, 225)])
    return picture


def write_video(path: Path, pictures: list[np.ndarray], *, fps: int = 1, title: str | None = None) -> Path:
    """Pictures inside an octagon, with burned-in text outside it but inside its bounding box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = octagon()[..., None]
    with av.open(str(path), "w") as container:
        if title:
            container.metadata["title"] = title
            container.metadata["comment"] = title
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "bf": "0", "sc_threshold": "0"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 10
        for picture in pictures:
            rgb = np.ascontiguousarray((np.clip(picture, 0, 255) * inside).astype(np.uint8))
            cv2.putText(rgb, "DOE", (20, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
    return path
