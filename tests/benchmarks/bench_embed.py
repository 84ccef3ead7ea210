"""Embedding packs with two worker processes beside bare loops of the same model on tensors in memory, in one run.

    python tests/benchmarks/bench_embed.py [frames] [repeats]

Ours decodes JPEG, embeds, writes Parquet and hashes it; a loop only calls a module, in two processes of one thread each at the same batch
size: timm's module as it comes and as our encoder loads it (batch norms folded, convolutions fused, channels-last), each as PyTorch comes
and with the allocator setting that ours uses. The last is the limit: what the cores could do if nothing but the network ran on them.
Start-up is what the first batch of each worker takes: import, load, kernels. ENDOFORGE_REAL_DATA takes Kvasir-SEG frames instead of drawn
ones.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import timm
import torch

from curation.embedding.batches import group_packs, whole_packs
from curation.embedding.config import EmbedConfig
from curation.embedding.embed import embed_packs, whole_parts
from curation.embedding.encoder import load_encoder, published
from curation.embedding.preprocess import decode_image
from curation.packs.pack import write_pack
from flows.runners.runners import ProcessRunner, successes
from warehouse.records import FramePack

FRAMES_A_PACK, SIZE, WORKERS = 37, (512, 410), 2


def pictures() -> list[bytes]:
    """Forty JPEG as ingest stores them: 512 by 410 pixels, quality 90, some 35 KB."""
    real = sorted(Path(os.environ.get("ENDOFORGE_REAL_DATA", "/none")).glob("kvasir_seg/images/*"))[:40]
    rng = np.random.default_rng(0)
    sources: list[npt.NDArray[Any]] = [np.asarray(cv2.imread(str(path))) for path in real]
    for _ in range(40 - len(sources)):
        smooth = cv2.resize(rng.integers(40, 220, (12, 15, 3), dtype=np.uint8), SIZE, interpolation=cv2.INTER_CUBIC).astype(np.int16)
        grain = cv2.GaussianBlur(rng.normal(0, 14, (SIZE[1], SIZE[0], 1)), (3, 3), 0)[..., None]
        sources.append(np.clip(smooth + grain, 0, 255).astype(np.uint8))
    resized = [cv2.resize(source, SIZE, interpolation=cv2.INTER_AREA) for source in sources]
    return [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() for picture in resized]


def make_packs(root: Path, num_frames: int, frames_a_pack: int = FRAMES_A_PACK) -> list[FramePack]:
    jpegs = pictures()
    packs = []
    for first in range(0, num_frames, frames_a_pack):
        members = [(f"{frame:08d}", jpegs[frame % len(jpegs)]) for frame in range(first, min(first + frames_a_pack, num_frames))]
        written = write_pack(root / f"frames/{first}.tar", members)
        packs.append(
            FramePack(
                pack_id=written.pack_id,
                video_id="v",
                path=f"frames/{first}.tar",
                num_bytes=written.num_bytes,
                num_frames=len(members),
            )
        )
    return packs


def ours(root: Path, packs: list[FramePack], config: EmbedConfig) -> tuple[float, float]:
    """Images a second once each worker has embedded a batch, and with the time that they took for that."""
    shutil.rmtree(root / "embeddings", ignore_errors=True)
    batch_size = config.batch_size or 1
    first = make_packs(root / "warm", WORKERS * batch_size, frames_a_pack=batch_size)
    shutil.rmtree(root / "warm/embeddings", ignore_errors=True)
    started = time.perf_counter()
    runner = ProcessRunner(WORKERS)
    with runner.reuse_workers():
        batches = [whole_packs([pack]) for pack in first]
        list(successes(runner.map(embed_packs, batches, lake_root=str(root / "warm"), config=config), stage="warm"))
        loaded = time.perf_counter()
        groups = group_packs(packs, batch_size=batch_size)
        embedded = successes(runner.map(embed_packs, groups, lake_root=str(root), config=config), stage="embed")
        parts = list(whole_parts(groups, embedded, lake_root=str(root), config=config))
        ended = time.perf_counter()
    num_frames = sum(part.num_frames for group in parts for part in group)
    return num_frames / (ended - loaded), num_frames / (ended - started)


def loop(config: EmbedConfig, num_batches: int, as_loaded: bool, barrier: Barrier) -> None:
    torch.set_num_threads(1)
    batch_size = config.batch_size or 1
    if as_loaded:
        module, preprocessing = load_encoder(config).module, load_encoder(config).preprocessing
    else:
        source, module = published(config.encoder, config.image_size, allow_download=False)
        preprocessing = source.preprocessing
    side = preprocessing.image_size
    images = torch.randn(batch_size, 3, side, side)
    if as_loaded:
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        module(images)
        barrier.wait()
        for _ in range(num_batches):
            module(images)
    barrier.wait()


def limit(config: EmbedConfig, num_frames: int, *, as_loaded: bool) -> float:
    """Images a second of the bare loops together."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WORKERS + 1)
    batch_size = config.batch_size or 1
    num_batches = -(-num_frames // (WORKERS * batch_size))
    workers = [context.Process(target=loop, args=(config, num_batches, as_loaded, barrier)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter()
    barrier.wait()
    elapsed = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return WORKERS * num_batches * batch_size / elapsed


PEERS = {"timm's module": False, "our module": True}


def report(name: str, root: Path, num_frames: int, config: EmbedConfig, repeats: int) -> None:
    packs = make_packs(root, num_frames)
    rates: dict[str, list[float]] = {}
    for _ in range(repeats):  # interleaved, so that other work on the machine meets all alike
        steady, with_start = ours(root, packs, config)
        rates.setdefault("ours, first batch done", []).append(steady)
        rates.setdefault("ours, from nothing", []).append(with_start)
        for peer, as_loaded in PEERS.items():
            rates.setdefault(peer, []).append(limit(config, num_frames // 2, as_loaded=as_loaded))
    middle = {key: statistics.median(values) for key, values in rates.items()}
    steady = middle["ours, first batch done"]
    print(f"{name}: {num_frames} frames in {len(packs)} packs, batches of {config.batch_size}, {WORKERS} processes")
    for key, rate in middle.items():
        beside = f"   ours is {steady / rate:5.2f} of it" if key in PEERS else ""
        print(f"  {key:32}{rate:8.1f} images/s{beside}", flush=True)


def main(num_frames: int, repeats: int) -> None:
    torch.set_num_threads(1)
    config = EmbedConfig(batch_size=16, device="cpu")
    jpegs, encoder = pictures(), load_encoder(config)
    decode_image(jpegs[0], encoder.preprocessing)
    started = time.process_time()
    for jpeg in jpegs * 5:
        decode_image(jpeg, encoder.preprocessing)
    print(f"decode, resize and crop: {(time.process_time() - started) / len(jpegs) / 5 * 1e3:.2f} ms an image")
    with tempfile.TemporaryDirectory() as folder:
        report("EfficientNet-Lite0", Path(folder) / "lite0", num_frames, config, repeats)
        vit = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=224)
        timm.models.save_for_hf(
            vit, str(Path(folder) / "vits14"), model_config={"num_classes": 0}, model_args={"img_size": 224}, safe_serialization=True
        )
        small = EmbedConfig(encoder=str(Path(folder) / "vits14"), image_size=224, batch_size=8, device="cpu")
        report("ViT-S/14 at 224, random weights", Path(folder) / "lake", max(96, num_frames // 16), small, repeats)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4096, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
