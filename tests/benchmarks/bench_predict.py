"""Frames a second of `endoforge predict` beside the bare decode of the same video.

    python tests/benchmarks/bench_predict.py VIDEO [pairs]

Every frame of the video is decoded alone (`sample_frames`, PyAV), and predicted as the command does it: scanned for what may not be shown,
decoded again, through network and head, drawn over and written as H.264. The pairs take turns, in CPU seconds on one thread; the median of
each is shown with the ratio. The model is EfficientNet-Lite0 with random weights at 224 pixels, its head k-NN among 1,000 training images.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from timm.models import save_for_hf

from curation.ingest import IngestConfig, opened_for_playback
from curation.sources import find_videos, identify
from curation.video import index_packets, probe, sample_frames
from evaluation.backbone import ModelRef, load_backbone
from evaluation.heads import CLASS_HEADS
from evaluation.predict_config import PredictConfig
from evaluation.predictor import Predictor
from evaluation.training_vectors import TrainingDistance
from flows.stages.predict_video import predict_video
from warehouse.records import Score, VideoRef

_TRAINED_ON = 1000
_CLASSES = ("mucosa", "polyp")


def make_predictor(folder: Path) -> Predictor:
    torch.manual_seed(0)
    save_for_hf(timm.create_model("tf_efficientnet_lite0", num_classes=0), str(folder), safe_serialization=True)
    backbone = load_backbone(ModelRef(model_id="m", label="m", path=str(folder)), device="cpu")
    vectors = np.random.default_rng(0).normal(size=(_TRAINED_ON, 1280)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    state = {"tried": (10,), "chosen": 0, "temperature": 0.07, "num_classes": 2, "metric": "accuracy", "val_score": 1.0}
    tensors = {"gallery": torch.from_numpy(vectors), "labels": torch.arange(_TRAINED_ON) % 2}
    told = dict.fromkeys(("score_id", "model_id", "model", "task", "data_id", "split", "head", "metric"), "benchmark")
    numbers = {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0, "num_items": 1, "num_groups": 1, "seed": 0, "details": {}}
    return Predictor(
        score=Score(**told, **numbers),  # type: ignore[arg-type]
        kind="classification",
        classes=_CLASSES,
        backbone=backbone,
        views=(),
        head=CLASS_HEADS["knn"].load(tensors, state, torch.device("cpu")),
        wanted=None,
        distance=TrainingDistance(vectors, 0.5),
        no_distance="",
    )


def decode(path: Path) -> tuple[int, float]:
    start = time.process_time()
    number = sum(1 for _ in sample_frames(str(path), fps=0, decoder="pyav", index=index_packets(str(path))))
    return number, time.process_time() - start


def predict(video: VideoRef, predictor: Predictor, folder: Path) -> dict[str, float]:
    start = time.process_time()
    with opened_for_playback(video, IngestConfig(all=True), scratch=folder / "scratch") as playback, tempfile.TemporaryFile() as album:
        scanned = time.process_time()
        predict_video(playback, predictor, PredictConfig(all=True), out=folder, name="video", album=album)
    return {"scan": scanned - start, "network, drawing, H.264": time.process_time() - scanned, "all": time.process_time() - start}


def main() -> None:
    path, pairs = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    video = identify(find_videos([str(path)])[0])
    assert isinstance(video, VideoRef), "the video can be read"
    header = probe(str(path))
    with tempfile.TemporaryDirectory() as folder:
        predictor = make_predictor(Path(folder) / "model")
        predict(video, predictor, Path(folder))  # the text detector is loaded
        rounds = [(decode(path), predict(video, predictor, Path(folder))) for _ in range(pairs)]
    number = rounds[0][0][0]
    bare = float(np.median([seconds for (_, seconds), _ in rounds]))
    ours = {name: float(np.median([found[name] for _, found in rounds])) for name in rounds[0][1]}
    print(
        json.dumps(
            {
                "model": "tf_efficientnet_lite0, 224 px, k-NN",
                "video": f"{header.codec} {header.width}x{header.height}",
                "frames": number,
                "decode_frames_per_cpu_s": round(number / bare, 1),
                "predict_frames_per_cpu_s": round(number / ours["all"], 1),
                "ratio": round(ours["all"] / bare, 1),
                "cpu_ms_a_frame": {name: round(1000 * seconds / number, 1) for name, seconds in ours.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
