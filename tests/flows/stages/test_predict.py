"""Videos, pictures and broken files through stored heads: the table, the overlays, the masks and the page."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.predict_config import PredictConfig
from evaluation.run import evaluate_model
from evaluation.tasks import fingerprint, resolve_task
from flows.job import Job
from flows.runners import make_runner
from flows.stages import run_predict
from flows.stages.video_network import video_model
from tests.helpers.films import room, tissue, write_video
from tests.helpers.video_backbone import tiny_video_backbone
from warehouse.lake import Lake, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Score


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_data(root: Path) -> None:
    """Tissue and green pictures with labels, and bright squares on tissue with masks."""
    labels, split = ["path,label,split,group"], ["image,mask,split,group"]
    for number in range(20):
        part = ("train", "train", "train", "val", "test")[number % 5]
        picture = tissue(number).clip(0, 255).astype(np.uint8)
        save(root / f"classes/t{number}.png", picture)
        save(root / f"classes/g{number}.png", np.roll(picture, 1, axis=2))
        labels += [f"t{number}.png,tissue,{part},p{number}", f"g{number}.png,green,{part},p{number}"]
        mask = np.zeros(picture.shape[:2], np.uint8)
        mask[40:90, 40 : 60 + number] = 255
        save(root / f"masks/images/{number}.png", np.where(mask[..., None] > 0, np.uint8(255), picture))
        save(root / f"masks/masks/{number}.png", mask)
        split.append(f"images/{number}.png,masks/{number}.png,{part},p{number}")
    (root / "classes/labels.csv").write_text("\n".join(labels) + "\n")
    (root / "masks/split.csv").write_text("\n".join(split) + "\n")


def make_scores(root: Path, lake: Lake) -> dict[str, Score]:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 64, 64)})
    save_for_hf(network, str(root / "network"), safe_serialization=True)
    scores = {}
    for name, head in (("classes", "knn"), ("masks", "linear")):
        task = resolve_task("auto", root / name)
        config = EvaluateConfig(
            heads=(head,), num_bootstrap=10, segmentation_epochs=5, segmentation_learning_rates=(1e-2,), device="cpu", seed=1
        )
        model = ModelRef(model_id="network", label="network", path=str(root / "network"))
        cache = str(lake.root / "staging" / "evaluate")
        told: dict[str, Any] = {"task": task, "identity": fingerprint(task), "config": config, "data": str(root / name)}
        found = evaluate_model(model, **told, cache_dir=cache, root=str(lake.root))
        with record_run(lake, plan_run(stage="evaluate", version=1, config=name, inputs=[]), RunContext(runner="serial")) as run:
            run.rows("scores", found)
        scores[name] = found[0]
    return scores


def table(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def shown(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_videos_pictures_and_broken_files_are_predicted(tmp_path: Path) -> None:
    make_data(tmp_path)
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    film = write_video(inputs / "film.mp4", [*(tissue(n) for n in range(10)), *(room(n) for n in range(10))])
    (inputs / "broken.mp4").write_text("no video")
    for number in range(2):
        save(inputs / "stills" / f"{number}.png", tissue(number + 50).clip(0, 255).astype(np.uint8))
    config = PredictConfig(fps=1, device="cpu", positive=("tissue",))
    with open_lake(tmp_path / "lake", create=True) as lake:
        scores = make_scores(tmp_path, lake)
        job = Job(lake=lake, runner=make_runner("serial", None))
        names = [str(inputs), str(tmp_path / "missing.mp4")]
        run_predict(job, head=scores["classes"].score_id[:12], inputs=names, out=tmp_path / "a", config=config)
        drawn = tmp_path / "a" / "overlays" / "002-film.mp4"
        written = (drawn.stat().st_mtime_ns, (tmp_path / "a" / "predictions.csv").read_bytes())
        run_predict(job, head=scores["classes"].score_id, inputs=names, out=tmp_path / "a", config=replace(config, batch_size=2))
        assert (drawn.stat().st_mtime_ns, (tmp_path / "a" / "predictions.csv").read_bytes()) == written, "only what failed is tried again"
        masked = PredictConfig(device="cpu")
        run_predict(job, head=scores["masks"].score_id, inputs=[str(inputs / "stills")], out=tmp_path / "b", config=masked)
        assert not (tmp_path / "b" / "parts").exists()
        with pytest.raises(ValueError, match="none of 1 inputs gave a frame"):
            run_predict(job, head=scores["masks"].score_id, inputs=[str(inputs / "broken.mp4")], out=tmp_path / "d", config=masked)
        assert "broken.mp4" in (tmp_path / "d" / "failures.csv").read_text()
        assert len(lake.rows("SELECT run_id FROM runs WHERE stage = 'predict' AND status = 'complete'")) == 2
        with pytest.raises(ValueError, match="not empty"):
            run_predict(job, head=scores["classes"].score_id, inputs=names, out=tmp_path / "a", config=replace(config, fps=2))
        with pytest.raises(ValueError, match="name those with --positive"):
            run_predict(job, head=scores["classes"].score_id, inputs=names, out=tmp_path / "c", config=PredictConfig())
        with pytest.raises(ValueError, match="knows green, tissue"):
            run_predict(job, head=scores["classes"].score_id, inputs=names, out=tmp_path / "c", config=PredictConfig(positive=("polyp",)))

    rows = table(tmp_path / "a")
    of_film = [row for row in rows if row["file"] == str(film)]
    assert [(row["frame"], row["pts_s"]) for row in of_film] == [(str(n), f"{n:.6f}") for n in range(20)]
    assert [row["not_shown"] for row in of_film[:5] + of_film[-5:]] == [""] * 5 + ["out_of_body"] * 5
    assert [row["prediction"] for row in of_film[:5]] == ["tissue"] * 5
    seen, hidden = ([row for row in rows if bool(row["not_shown"]) == is_hidden] for is_hidden in (False, True))
    assert all(abs(float(row["p_green"]) + float(row["p_tissue"]) - 1) < 1e-5 for row in seen)
    assert all(row["unlike_training"] in ("0", "1") and 0 <= float(row["distance"]) <= 2 for row in seen)
    said = ("prediction", "p_green", "p_tissue", "distance", "unlike_training")
    assert {tuple(row[name] for name in said) for row in hidden} == {("",) * 5}, "nothing is said of what is hidden"
    assert [row["file"] for row in rows if row["pts_s"] == ""] == [str(inputs / "stills" / f"{n}.png") for n in range(2)]

    frames = shown(tmp_path / "a" / "overlays" / "002-film.mp4")
    assert len(frames) == 20
    middle = slice(60, 140)
    assert frames[2][middle].mean() > 50
    assert frames[-2][middle].max() < 40, "black, for coding noise"

    with (tmp_path / "a" / "failures.csv").open() as file:
        failures = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert set(failures) == {str(tmp_path / "missing.mp4"), str(inputs / "broken.mp4")}
    page = (tmp_path / "a" / "timeline.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("esearch use only") >= 2
    assert page.count("<polyline") == 2
    assert "nearest frames of the archive are left out" in page.lower()
    assert "tissue, from a probability of 0.5" in page
    assert "not searched" in page
    assert "nan" not in page.split("</header>")[0].lower()

    for row in table(tmp_path / "b"):
        mask = Image.open(tmp_path / "b" / row["mask"])
        assert (mask.mode, mask.size) == ("1", tissue(50).shape[1::-1])
        assert np.asarray(mask).mean() == pytest.approx(float(row["foreground_share"]), abs=1e-6)
    assert len(list((tmp_path / "b" / "overlays").rglob("*.jpg"))) == 2


def test_masks_of_a_video_network_are_predicted_on_videos_alone(tmp_path: Path) -> None:
    make_data(tmp_path)
    film = write_video(tmp_path / "film.mp4", [*(tissue(n) for n in range(6)), *(room(n) for n in range(3))])
    save(tmp_path / "still.png", tissue(50).clip(0, 255).astype(np.uint8))
    task = resolve_task("auto", tmp_path / "masks")
    model = video_model(tiny_video_backbone(tmp_path / "network"), model_id="v", label="v")
    settings = EvaluateConfig(num_bootstrap=10, segmentation_epochs=3, segmentation_learning_rates=(1e-2,), device="cpu")
    with open_lake(tmp_path / "lake", create=True) as lake:
        cache, root = str(lake.root / "staging" / "evaluate"), str(lake.root)
        told: dict[str, Any] = {"task": task, "identity": fingerprint(task), "data": str(tmp_path / "masks")}
        found = evaluate_model(model, config=settings, cache_dir=cache, root=root, **told)
        with record_run(lake, plan_run(stage="evaluate", version=1, config="v", inputs=[]), RunContext(runner="serial")) as run:
            run.rows("scores", found)
        job, out = Job(lake=lake, runner=make_runner("serial", None)), tmp_path / "out"
        config = PredictConfig(fps=1, device="cpu")
        run_predict(job, head=found[0].score_id, inputs=[str(film), str(tmp_path / "still.png")], out=out, config=config)
    rows = table(out)
    assert [row["frame"] for row in rows] == [str(number) for number in range(9)]
    assert [row["not_shown"] for row in rows[:3] + rows[-2:]] == [""] * 3 + ["out_of_body"] * 2
    assert all((row["mask"] == "") == (row["not_shown"] != "") for row in rows)
    for row in rows[:3]:
        mask = np.asarray(Image.open(out / row["mask"]))
        assert mask.shape == tissue(0).shape[:2]
        assert float(row["foreground_share"]) == pytest.approx(mask.mean(), abs=1e-6)
    assert len(shown(out / "overlays" / "001-film.mp4")) == 9
    assert "these are still images; give videos" in (out / "failures.csv").read_text()
