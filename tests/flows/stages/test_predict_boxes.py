"""A stored head of boxes over pictures and a video: the boxes are those of its evaluation, and they are drawn and listed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.detection.metrics import one_a_place
from evaluation.heads import read_settings
from evaluation.run import evaluate_model
from evaluation.tasks import readable_task, resolve_task
from flows.cli.cli import main
from tests.evaluation.detection.trees import annotation
from tests.helpers.films import HEIGHT, WIDTH, room, tissue, write_video
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Score

POLYP = (250, 200, 60)


def polyp(seed: int, corners: tuple[int, int, int, int]) -> np.ndarray:
    """Tissue [192, 256, 3] with a bright box."""
    picture = tissue(seed)
    x0, y0, x1, y1 = corners
    picture[y0:y1, x0:x1] = POLYP
    return picture.clip(0, 255)


def tree(root: Path) -> list[Path]:
    """PolypsSet's layout, one polyp a frame; the test frames."""
    found = []
    for part, (split, frames) in enumerate((("train2019", 12), ("val2019", 4), ("test2019", 4))):
        for number in range(frames):
            x0, y0 = 40 + 37 * number % 110, 30 + 23 * number % 80
            corners = (x0, y0, x0 + 70, y0 + 60)
            path = root / "PolypsSet" / split / "Image" / str(1 + number % 2) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(polyp(100 * part + number, corners).astype(np.uint8)).save(path)
            xml = root / "PolypsSet" / split / "Annotation" / str(1 + number % 2) / f"{number}.xml"
            annotation(xml, [(("adenomatous", "hyperplastic")[number % 2], x0 + 1, y0 + 1, x0 + 70, y0 + 60)], size=(WIDTH, HEIGHT))
            if split == "test2019":
                found.append(path)
    return found


def scored(root: Path, lake_folder: Path) -> Score:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 64, 64)})
    save_for_hf(network, str(root / "network"), safe_serialization=True)
    task, identity = readable_task(resolve_task("kumc", root / "kumc"))
    config = EvaluateConfig(detection_epochs=40, detection_width=32, num_workers=1, device="cpu", detection_learning_rates=(1e-2,))
    model = ModelRef(model_id="network", label="network", path=str(root / "network"))
    with open_lake(lake_folder, create=True) as lake:
        told: dict[str, Any] = {"cache_dir": str(lake.root / "staging" / "evaluate"), "root": str(lake.root), "data": str(root / "kumc")}
        scores = evaluate_model(model, task=task, identity=identity, config=config, **told)
        with record_run(lake, plan_run(stage="evaluate", version=1, config="boxes", inputs=[]), RunContext(runner="serial")) as run:
            run.rows("scores", scores)
    return scores[0]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_boxes_are_those_of_the_evaluation_and_are_drawn(tmp_path: Path) -> None:
    stills = tree(tmp_path / "kumc")[:2]
    film = write_video(tmp_path / "film.mp4", [*(polyp(n, (80, 60, 150, 120)) for n in range(3)), *(room(n) for n in range(2))])
    score = scored(tmp_path, tmp_path / "lake")
    out = tmp_path / "out"
    options = ["--head", score.score_id[:12], "--lake", str(tmp_path / "lake"), "--out", str(out), "--fps", "1", "--device", "cpu"]
    assert main(["predict", str(film), *map(str, stills), *options]) == 0

    stored = pq.read_table(tmp_path / "lake" / score.details["predictions_file"]).to_pylist()
    threshold = read_settings(tmp_path / "lake" / score.details["head_file"])["state"]["threshold"]
    found = rows_of(out / "boxes.csv")
    assert list(found[0]) == ["file", "frame", "pts_s", "class", "score", "x0", "y0", "x1", "y1"]
    for row in [row for row in stored if str(tmp_path / "kumc" / row["path"]) in set(map(str, stills))]:
        corners, scores = np.array(row["predicted_boxes"]), np.array(row["predicted_scores"])
        expected = [place for place in one_a_place(corners, scores) if scores[place] >= threshold]
        mine = [each for each in found if each["file"] == str(tmp_path / "kumc" / row["path"])]
        assert [each["class"] for each in mine] == [row["predicted_labels"][place] for place in expected]
        assert [float(each["score"]) for each in mine] == pytest.approx(scores[expected].tolist(), abs=1e-4)
        told = [float(each[side]) for each in mine for side in ("x0", "y0", "x1", "y1")]
        assert told == pytest.approx(corners[expected].ravel().tolist(), abs=0.05)

    frames = rows_of(out / "predictions.csv")
    of_film = [row for row in frames if row["file"] == str(film)]
    assert [row["not_shown"] for row in of_film] == [""] * 3 + ["out_of_body"] * 2
    counted = {(row["file"], row["frame"]): int(row["num_boxes"]) for row in frames if row["num_boxes"]}
    assert sum(counted.values()) == len(found)
    assert not any(row["file"] == str(film) and int(row["frame"]) > 2 for row in found), "nothing is said of what is hidden"
    with av.open(str(out / "overlays" / "001-film.mp4")) as container:
        drawn = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    first = next(row for row in found if row["file"] == str(film))
    x, y0, y1 = (round(float(first[side])) for side in ("x0", "y0", "y1"))
    edge = drawn[int(first["frame"])][y0 + 8 : y1 - 8, x, 1]
    assert edge.mean() > 150, "tissue has 85 of green, the line 214"
    assert drawn[-1][60:140].max() < 40, "black, for coding noise"
    page = (out / "timeline.html").read_text()
    assert "boxes of adenomatous, hyperplastic, from a score of " in page
    assert page.count("data:image/jpeg") >= 2
