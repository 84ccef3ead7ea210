"""Clips of real videos: scored through the reader of ingest, computed again, and predicted over a whole video."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import save_for_hf

from curation.video import h264_writer
from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.predict_config import PredictConfig
from evaluation.replay import from_head, from_predictions, open_score
from evaluation.run import evaluate_model
from evaluation.tasks import resolve_task
from evaluation.video.clip_contents import readable_clips
from flows.job import Job
from flows.runners import make_runner
from flows.stages import run_predict
from flows.stages.clip_reading import CLIP_SOURCE
from tests.helpers.films import tissue
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run


def film(path: Path, frames: list[np.ndarray], *, rate: float) -> None:
    """A video whose second half is twice as slow: times, not numbers of frames, say what is shown."""
    with h264_writer(path, (frames[0].shape[1], frames[0].shape[0])) as write:
        for number, frame in enumerate(frames):
            late = max(0, number - len(frames) // 2)
            write(frame, round(1e6 * (number + late) / rate))


def test_clips_are_scored_replayed_and_predicted(tmp_path: Path) -> None:
    data, network = tmp_path / "data", tmp_path / "network"
    data.mkdir()
    torch.manual_seed(0)
    save_for_hf(
        timm.create_model("tf_efficientnet_lite0", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 64, 64)}),
        str(network),
        safe_serialization=True,
    )
    rows = ["video,start_s,end_s,label,split,group"]
    for number in range(8):
        frames = [tissue(30 * number + each).clip(0, 255).astype(np.uint8) for each in range(8)]
        smooth = [tissue(30 * number + each, contrast=0.1).clip(0, 255).astype(np.uint8) for each in range(8)]
        film(data / f"{number}.mp4", [*frames, *smooth], rate=4)
        split = ("train", "train", "val", "test")[number % 4]
        # the first eight frames are shown until 2 s, the others until 5.75 s
        rows += [f"{number}.mp4,0,1,normal,{split},p{number}", f"{number}.mp4,2.5,3.5,smooth,{split},p{number}"]
    (data / "clips.csv").write_text("\n".join(rows) + "\n")
    task, identity = readable_clips(resolve_task("clips", data), CLIP_SOURCE, num_frames=2)
    config = EvaluateConfig(heads=("knn",), clip_frames=2, clip_windows=2, num_bootstrap=10, device="cpu", k=(1,))
    told: dict[str, Any] = {"task": task, "identity": identity, "config": config, "data": str(data), "clips": CLIP_SOURCE}
    with open_lake(tmp_path / "lake", create=True) as lake:
        model = ModelRef(model_id="network", label="network", path=str(network))
        scores = evaluate_model(model, **told, cache_dir=str(lake.root / "cache"), root=str(lake.root))
        assert {score.metric: score.value for score in scores}["accuracy"] == 1
        stored = open_score(scores[0], lake.root)
        assert from_predictions(stored) == scores[0].value
        assert from_head(stored, data, device="cpu", clips=CLIP_SOURCE) == pytest.approx(scores[0].value, abs=1e-6)
        with record_run(lake, plan_run(stage="evaluate", version=1, config="clips", inputs=[]), RunContext(runner="serial")) as run:
            run.rows("scores", scores)
        job = Job(lake=lake, runner=make_runner("serial", None))
        predict = PredictConfig(fps=4, device="cpu", positive=("smooth",))
        run_predict(job, head=scores[0].score_id, inputs=[str(data / "3.mp4")], out=tmp_path / "out", config=predict)
    with (tmp_path / "out" / "predictions.csv").open() as file:
        predicted = list(csv.DictReader(file))
    found = [(float(row["pts_s"]), float(row["p_smooth"])) for row in predicted]
    assert all(0 <= float(row["distance"]) <= 2 and row["unlike_training"] in ("0", "1") for row in predicted)
    assert len(found) > 10
    assert all(share < 0.5 for second, share in found if second < 0.5)
    assert all(share > 0.5 for second, share in found if second > 4)
    assert "distance" in (tmp_path / "out" / "timeline.html").read_text()
