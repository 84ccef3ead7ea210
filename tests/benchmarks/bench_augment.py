"""Crops of a batch made for all images at once, as on the device, beside one by one with PIL and OpenCV, from the same draws.

    python tests/benchmarks/bench_augment.py [--images 64] [--rounds 5] [--recipe vits14] [--width 512] [--height 512] [--folder IMAGES]

JPEGs of blobs with grain, or of a folder's images at that size, quality 92. The two ways take turns on one thread; seconds are of the
process's CPU. The ratio is one by one over all at once. On a GPU it also says images a second of one loader process, of decoding alone, and
of the crops there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from pretrain.augment import CropDraw, cut
from pretrain.decode import decoded_image
from pretrain.device_crops import Images, crops_on_device, pack_images
from pretrain.recipes import recipe


def jpegs_of(count: int, width: int, height: int, folder: Path | None) -> list[bytes]:
    found = [cv2.imread(str(path)) for path in sorted(folder.iterdir())[:count]] if folder else []
    images = [image for image in found if image is not None]
    rng = np.random.default_rng(0)
    while len(images) < count and not folder:
        coarse = cv2.resize(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        images.append((coarse + rng.normal(0, 6, coarse.shape)).clip(0, 255).astype(np.uint8))
    resized = [cv2.resize(images[number % len(images)], (width, height)) for number in range(count)]
    return [cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes() for image in resized]


def timed(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    start = clock()
    work()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipe", default="vits14")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    config = recipe(asked.recipe)
    side, cpu = config.model.img_size, torch.device("cpu")
    jpegs = jpegs_of(asked.images, asked.width, asked.height, asked.folder)

    def decode() -> None:
        decoded[:] = [
            found
            for number, data in enumerate(jpegs)
            if (found := decoded_image(data, config.augment, global_size=side, rng=np.random.default_rng(number))) is not None
        ]

    def one_by_one() -> None:
        crops = [cut(*found, config.augment, global_size=side) for found in decoded]
        made["one by one"] = tuple(torch.from_numpy(np.stack(kind, axis=1)) for kind in zip(*crops, strict=True))

    def pack() -> None:
        packed[:] = [pack_images(decoded, config)]

    def all_at_once() -> None:
        made["all at once"] = crops_on_device(packed[0], config, cpu)

    decoded: list[tuple[np.ndarray, list[CropDraw]]] = []
    packed: list[Images] = []
    made: dict[str, tuple[torch.Tensor, ...]] = {}
    rows = [[timed(work) for work in (decode, one_by_one, pack, all_at_once)] for _ in range(asked.rounds + 1)][1:]
    decode_s, one_s, pack_s, all_s = (median(column) / asked.images for column in zip(*rows, strict=True))
    differences = [(a.float() - b.float()).abs() for a, b in zip(made["one by one"], made["all at once"], strict=True)]
    result = {
        "recipe": asked.recipe,
        "images": asked.images,
        "size": [asked.width, asked.height],
        "ms_an_image": {
            name: round(1e3 * s, 2)
            for name, s in zip(("decode", "one by one", "pack", "all at once"), (decode_s, one_s, pack_s, all_s), strict=True)
        },
        "ratio_one_by_one_over_all_at_once": round(one_s / all_s, 2),
        "ratio_of_loader_work": round((decode_s + one_s) / (decode_s + pack_s), 2),
        "canvas_mb_over_crops_mb": round(
            sum(canvas.numel() for canvas in packed[0].canvases) / sum(part.numel() for part in made["one by one"]), 2
        ),
        "mean_difference": [round(float(part.mean()), 3) for part in differences],
        "share_above_2": [round(float((part > 2).float().mean()), 4) for part in differences],
    }
    if torch.cuda.is_available():
        gpu = torch.device("cuda")
        images = packed[0]._replace(
            canvases=[canvas.pin_memory() for canvas in packed[0].canvases],
            draws=packed[0].draws.pin_memory(),
            rows=packed[0].rows.pin_memory(),
        )

        def on_gpu() -> None:
            made["gpu"] = crops_on_device(images, config, gpu)
            torch.cuda.synchronize()

        seconds = median([timed(on_gpu, time.perf_counter) for _ in range(asked.rounds + 3)][3:]) / asked.images
        result["gpu"] = torch.cuda.get_device_name()
        result["images_per_s"] = {
            "loader process that crops": round(1 / (decode_s + one_s), 1),
            "loader process that decodes": round(1 / (decode_s + pack_s), 1),
            "crops on the GPU": round(1 / seconds, 1),
        }
        differences = [(a.float() - b.float().cpu()).abs() for a, b in zip(made["one by one"], made["gpu"], strict=True)]
        result["gpu_mean_difference"] = [round(float(part.mean()), 3) for part in differences]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
