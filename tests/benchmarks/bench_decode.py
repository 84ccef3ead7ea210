"""From JPEG to crops: decoded as small as the crop boxes allow, beside decoded in full and beside PIL's `draft` at the same scale.

    python tests/benchmarks/bench_decode.py FOLDER_OF_IMAGES [seconds a case]

Images are resized to each size and encoded at quality 92, and cut as the recipe does. Rates are per second of CPU of one process; the three
ways take turns image by image. Differences are of crops without colour, blur and flips, against full decode, in levels of 255.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pretrain.augment import cut, draw_boxes, draw_crops, multi_crop
from pretrain.config import AugmentConfig
from pretrain.decode import choose_reduction, decode, decoded_crops
from pretrain.recipes import recipe

SIZES = ((512, 512), (1280, 720), (1280, 1024), (1920, 1080))
MOST_IMAGES = 40

Crops = tuple[np.ndarray, np.ndarray]


def full(data: bytes, config: AugmentConfig, side: int, seed: int) -> Crops:
    image = decode(data)
    assert image is not None
    return multi_crop(image, config, global_size=side, rng=np.random.default_rng(seed))


def ours(data: bytes, config: AugmentConfig, side: int, seed: int) -> Crops:
    crops = decoded_crops(data, config, global_size=side, rng=np.random.default_rng(seed))
    assert crops is not None
    return crops


def pil_draft(data: bytes, config: AugmentConfig, side: int, seed: int) -> Crops:
    rng = np.random.default_rng(seed)
    image = Image.open(io.BytesIO(data))
    boxes = draw_boxes(*image.size, config, rng=rng)
    reduction = choose_reduction(boxes, [side] * 2 + [config.local_size] * config.num_local)
    image.draft("RGB", (image.width // reduction, image.height // reduction))
    reduced = [(left / reduction, top / reduction, right / reduction, bottom / reduction) for left, top, right, bottom in boxes]
    return cut(np.asarray(image.convert("RGB")), draw_crops(reduced, config, rng=rng), config, global_size=side)


def encoded(folder: Path, size: tuple[int, int]) -> list[bytes]:
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
    images = [cv2.imread(str(path)) for path in paths[:: max(1, len(paths) // MOST_IMAGES)]]
    resized = [cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in images if image is not None]
    return [cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes() for image in resized]


def measure(jpegs: list[bytes], config: AugmentConfig, side: int, seconds: float) -> dict[str, object]:
    spent: defaultdict[str, float] = defaultdict(float)
    count = 0
    while sum(spent.values()) < seconds:
        for way in (full, ours, pil_draft):
            start = time.process_time()
            way(jpegs[count % len(jpegs)], config, side, count)
            spent[way.__name__] += time.process_time() - start
        count += 1
    plain = replace(config, hflip_p=0, jitter_p=0, gray_p=0, blur_p=(0, 0, 0), solarize_p=0)
    differences: dict[str, list[float]] = {"global": [], "local": []}
    sharpness: list[float] = []
    scales: Counter[int] = Counter()
    for seed, data in enumerate(jpegs):
        image = decode(data)
        assert image is not None
        boxes = draw_boxes(image.shape[1], image.shape[0], config, rng=np.random.default_rng(seed))
        scales[choose_reduction(boxes, [side] * 2 + [config.local_size] * config.num_local)] += 1
        pairs = list(zip(ours(data, plain, side, seed), full(data, plain, side, seed), strict=True))
        for name, (mine, theirs) in zip(differences, pairs, strict=True):
            differences[name].append(float(np.abs(mine.astype(int) - theirs).mean()))
        mine, theirs = (np.mean([cv2.Laplacian(crop, cv2.CV_32F).std() for crop in crops]) for crops in pairs[0])
        sharpness.append(float(mine / theirs))
    return {
        "mean_kb": round(sum(map(len, jpegs)) / len(jpegs) / 1e3, 1),
        "images": count,
        "images_per_cpu_s": {name: round(count / spent[name], 1) for name in spent},
        "ratio_to_full": round(spent["full"] / spent["ours"], 2),
        "share_by_scale": {f"1/{scale}": round(number / len(jpegs), 2) for scale, number in sorted(scales.items())},
        "mean_difference": {name: round(float(np.mean(found)), 2) for name, found in differences.items()},
        "largest_mean_difference": round(max(max(found) for found in differences.values()), 2),
        "sharpness_ratio": round(float(np.mean(sharpness)), 3),
    }


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    cv2.setNumThreads(1)
    for name in ("vits14", "demo"):
        config = recipe(name)
        for size in SIZES:
            found = measure(encoded(folder, size), config.augment, config.model.img_size, seconds)
            print(json.dumps({"recipe": name, "size": size, **found}), flush=True)


if __name__ == "__main__":
    main()
