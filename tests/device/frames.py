"""Shards and labelled images of the phantom, rendered on every core, and how fast the trainer's loader reads them."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from dataclasses import replace

import cv2
import torch

from curation.phantom.config import PhantomConfig
from curation.phantom.eval import phantom_eval_patient, write_eval_index
from curation.phantom.patient import draw_patient
from curation.phantom.script import draw_script
from curation.phantom.video import render_frames
from pretrain.config import PretrainConfig
from pretrain.data import ShardReader, StepBatches, open_loader
from pretrain.device_crops import crops_on_device as make_crops
from tests.device.place import Place, cores, full, synchronize
from tests.helpers.shards import write_dataset

_PER_SHARD = 500


def _settings(place: Place) -> PhantomConfig:
    """Many patients with few frames each; frames are stored at 512 pixels at most, as curation does."""
    if place.dry:
        return PhantomConfig(num_train_videos=2, num_eval_patients=4, seconds=6, fps=2, size=64, landmarks_per_station=1,
                             images_per_grade=1, polyps_per_patient=1)  # fmt: skip
    return PhantomConfig(
        num_train_videos=192, num_eval_patients=28, seconds=24, fps=2, size=512, landmarks_per_station=3, images_per_grade=1,
        polyps_per_patient=1,
    )  # fmt: skip


def made_frames(place: Place) -> None:
    """Render shards under `frames` and landmarks under `labelled`, as many patients as the time allows."""
    config = _settings(place)
    start = time.monotonic()
    with multiprocessing.get_context("fork").Pool(max(1, cores() - 3)) as pool:
        evidence = pool.starmap_async(_labelled, [(patient, config, str(place.work / "labelled")) for patient in _eval_patients(config)])
        rendering = pool.imap_unordered(_rendered, [(patient, config) for patient in range(config.num_train_videos)])
        jpegs: list[bytes] = []
        num_patients = 0
        for frames in rendering:
            jpegs += frames
            num_patients += 1
            if place.left_s < 12:
                break
        write_dataset(place.work / "frames", jpegs, _PER_SHARD)
        labelled = evidence.get(max(1.0, place.left_s - 2))
        place.note(labelled=write_eval_index(labelled, out_dir=str(place.work / "labelled"), config=config))
        pool.terminate()
    place.note(
        patients=num_patients,
        frames=len(jpegs),
        mean_kb=round(sum(map(len, jpegs)) / len(jpegs) / 1e3, 1),
        frames_per_s=round(len(jpegs) / (time.monotonic() - start), 1),
    )


def _eval_patients(config: PhantomConfig) -> range:
    return range(config.num_train_videos, config.num_train_videos + config.num_eval_patients)


def _labelled(patient: int, config: PhantomConfig, out_dir: str) -> str:
    return phantom_eval_patient(patient, out_dir=out_dir, config=config)


def _rendered(task: tuple[int, PhantomConfig]) -> list[bytes]:
    """JPEGs of one patient's frames that curation would keep."""
    patient, config = task
    cv2.setNumThreads(1)
    looks = draw_patient(patient, seed=config.seed, size=config.size)
    procedure = "gastroscopy" if patient % 2 else "colonoscopy"
    script = draw_script(looks.seed, num_frames=round(config.seconds * config.fps), fps=config.fps, procedure=procedure)
    jpegs = []
    for pixels, row in render_frames(looks, script, fps=config.fps):
        if not (row["out_of_body"] or row["dark"] or row["bright"] or row.get("freeze")):
            jpegs.append(cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    return jpegs


def loader_alone(place: Place) -> None:
    """Images a second of the CPU path for vitb14's crops, by number of processes."""
    reader = ShardReader(place.work / "frames")
    num_cores = cores()
    choices = [2] if place.dry else sorted({num_cores - 2, num_cores // 2, 1}, reverse=True)
    each_s = max(3.0, (place.left_s - 12) / len(choices) - 3)
    rates: dict[str, float] = {}
    for num_workers in choices:
        config = fitted(full(place, "vitb14", batch_size=4 if place.dry else 64), place, num_workers=num_workers)
        config = replace(config, train=replace(config.train, num_steps=125_000))
        loader = open_loader(StepBatches(reader, config, rank=0, world_size=1), first_step=0, pin_memory=not place.dry)
        for _ in range(max(1, config.train.num_loader_workers)):
            next(loader)
        start, images = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < (1.5 if place.dry else each_s):
            images += len(next(loader).global_crops[0])
        rates[str(config.train.num_loader_workers)] = round(images / elapsed, 1)
        place.note(images_per_s_by_workers=rates, batch_size=config.train.batch_size)
        del loader
    workers, best = max(rates.items(), key=lambda item: item[1])
    place.note(best_images_per_s=best, best_workers=int(workers), samples=len(reader))


def crops_on_device(place: Place) -> None:
    """Crops made on the device against the CPU's, images a second of them and of loader processes that only decode, and waits."""
    reader = ShardReader(place.work / "frames")
    config = full(place, "vitb14", batch_size=4 if place.dry else 128)
    images = StepBatches(reader, config, rank=0, world_size=1, decode_only=True)[0].images
    cpu = StepBatches(reader, config, rank=0, world_size=1)[0]
    assert images is not None
    if not place.dry:
        canvases = [canvas.pin_memory() for canvas in images.canvases]
        images = images._replace(canvases=canvases, draws=images.draws.pin_memory(), rows=images.rows.pin_memory())
    made = make_crops(images, config, place.device)
    for name, crops, others in zip(("global", "local"), made, (cpu.global_crops, cpu.local_crops), strict=True):
        difference = (crops.cpu().float() - others.float()).abs()
        place.note(**{f"{name}_mean_difference": round(float(difference.mean()), 4), f"{name}_most": float(difference.max())})
    rounds = 1 if place.dry else 20
    waits: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: waits.append(str(message))
        if not place.dry:
            torch.cuda.set_sync_debug_mode("warn")
        start = time.perf_counter()
        for _ in range(rounds):
            make_crops(images, config, place.device)
        if not place.dry:
            torch.cuda.set_sync_debug_mode("default")
    synchronize(place.device)
    rate = rounds * config.train.batch_size / (time.perf_counter() - start)
    place.note(crops_per_s=round(rate, 1), waits=len([each for each in waits if "called a synchronizing" in each]))
    config = fitted(config, place, num_workers=2 if place.dry else cores() - 2)
    config = replace(config, train=replace(config.train, num_steps=125_000))
    batches = StepBatches(reader, config, rank=0, world_size=1, decode_only=True)
    loader = open_loader(batches, first_step=0, pin_memory=not place.dry)
    for _ in range(5 * config.train.num_loader_workers):
        next(loader)  # those made ahead
    start, images_seen = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < (0.5 if place.dry else max(3.0, place.left_s - 8)):
        images_seen += config.train.batch_size
        next(loader)
    place.note(decoded_per_s=round(images_seen / elapsed, 1), workers=config.train.num_loader_workers)


def fitted(config: PretrainConfig, place: Place, *, num_workers: int) -> PretrainConfig:
    """With so many loader processes, or as many as /dev/shm has room for: each keeps four batches there."""
    model, augment = config.model, config.augment
    crops = 2 * model.img_size**2 + augment.num_local * augment.local_size**2
    image_bytes = 3 * (crops if place.dry else max(crops, 512**2))  # or the frame, where the GPU makes the crops
    room = 0.7 * place.found("inventory").get("shm_gb", 1.0) * 1e9
    fits = max(1, int(room / (5 * image_bytes * config.train.batch_size)))
    if fits < num_workers:
        place.note(shm_holds_workers=fits)
    return replace(config, train=replace(config.train, num_loader_workers=min(num_workers, fits)))
