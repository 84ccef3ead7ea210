from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pytest

from evaluation.backbone import BackboneError, ModelRef
from evaluation.class_rows import mean_of_logits
from evaluation.config import EvaluateConfig
from evaluation.predict import predict_clips
from evaluation.predictor import open_predictor
from evaluation.replay import from_head, from_predictions, open_score
from evaluation.run import evaluate_model
from evaluation.tasks import TaskError, resolve_task
from evaluation.tasks.clips import read_clip_table
from evaluation.video.clip_backbone import ClipBackbone
from evaluation.video.clip_contents import readable_clips
from evaluation.video.clip_features import load_clip_backbone
from evaluation.video.clip_frames import ClipError, ClipSource, clip_pixels, window_times
from evaluation.video.clip_tuning import clip_trunk
from flows.stages.video_network import find_video_network, video_model
from tests.helpers.video_backbone import tiny_video_backbone

FPS = 10


def read_array(path: str, seconds: Sequence[float]) -> npt.NDArray[np.uint8]:
    """Frames of an array [N, H, W, 3] on disk, ten a second."""
    try:
        frames = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ClipError("it cannot be read") from error
    return np.asarray(frames[[min(int(second * FPS + 1e-6), len(frames) - 1) for second in seconds]])


def array_seconds(path: str) -> float:
    try:
        return len(np.load(path, allow_pickle=False)) / FPS
    except ValueError as error:
        raise ClipError("it cannot be read") from error


SOURCE = ClipSource(read=read_array, duration=array_seconds)


@pytest.fixture(scope="module")
def ramps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that grow brighter, and the same played backward: their frames are the same. Twelve patients with both each.

    Of an odd number of frames, the middles of eight equal parts are never where one frame ends, so both ways give the same eight frames.
    """
    root = tmp_path_factory.mktemp("ramps")
    with (root / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "start_s", "end_s", "label", "split", "group"])
        for patient in range(12):
            rng = np.random.default_rng(patient)
            levels = np.linspace(40, 200, 17)[:, None, None, None] + rng.normal(0, 4, (17, 28, 28, 3))
            for label, order in (("brighter", 1), ("darker", -1)):
                name = f"p{patient}-{label}.npy"
                with (root / name).open("wb") as array:
                    np.save(array, np.clip(levels[::order], 0, 255).astype(np.uint8))
                rows.writerow(
                    [name, "", 1.7, label, ("train", "train", "val", "test")[patient % 4] if patient < 8 else "test", f"patient {patient}"]
                )
    return root


def test_windows_take_other_moments_of_the_same_parts() -> None:
    np.testing.assert_allclose(window_times(2.0, 4.0, num_frames=4), [[2.25, 2.75, 3.25, 3.75]])
    found = window_times(0.0, 4.0, num_frames=2, num_windows=4)
    np.testing.assert_allclose(found, [[0.25, 2.25], [0.75, 2.75], [1.25, 3.25], [1.75, 3.75]])


def test_the_mean_of_logits_is_the_softmax_of_their_mean() -> None:
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 3.0, 1.0]])
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mean = np.exp([1.0, 1.5, 0.0]) / np.exp([1.0, 1.5, 0.0]).sum()
    np.testing.assert_allclose(mean_of_logits(shares.astype(np.float32), 2), [mean], rtol=1e-5)


def _scores(root: Path, folder: str, cache: Path, **settings: object) -> dict[str, float]:
    config = EvaluateConfig(num_bootstrap=20, device="cpu", heads=("linear",), **settings)  # type: ignore[arg-type]
    task, identity = readable_clips(resolve_task("clips", root), SOURCE, num_frames=8)
    model = ModelRef(model_id="m", label="m", path=folder)
    found = evaluate_model(
        model, task=task, identity=identity, config=config, cache_dir=str(cache), root=str(cache), data=str(root), clips=SOURCE
    )
    assert {score.details["patients"] for score in found} == {"known"}
    return {score.metric: score.value for score in found}


def test_the_mean_of_frames_does_not_know_their_order(ramps: Path, vit_folder: str, tmp_path: Path) -> None:
    mean = _scores(ramps, vit_folder, tmp_path, clip_windows=1)
    assert mean["accuracy"] == 0.5
    ordered = _scores(ramps, vit_folder, tmp_path, clip_pooling="ordered", clip_windows=2)
    assert ordered["accuracy"] > 0.9


@pytest.fixture(scope="module")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny video network as the video recipes export it, of random weights."""
    return tiny_video_backbone(tmp_path_factory.mktemp("video"))


@pytest.mark.parametrize(("kind", "pooling"), [("video", "mean"), ("image", "ordered")])
def test_a_network_that_is_trained_too_is_stored_and_scores_the_same_again(
    ramps: Path, vit_folder: str, video_folder: Path, tmp_path: Path, kind: str, pooling: Literal["mean", "ordered"]
) -> None:
    is_video = kind == "video"
    model = video_model(video_folder, model_id="v", label="v") if is_video else ModelRef(model_id="m", label="m", path=vit_folder)
    task, identity = readable_clips(resolve_task("clips", ramps), SOURCE, num_frames=4)
    config = EvaluateConfig(
        heads=("linear", "finetune"),
        clip_frames=4,
        clip_windows=2,
        clip_pooling=pooling,
        regularization=(1e-4,),
        tune_epochs=2,
        finetune_learning_rates=(3e-3,),
        num_bootstrap=10,
        device="cpu",
    )
    told: dict[str, Any] = {"cache_dir": str(tmp_path), "root": str(tmp_path), "data": str(ramps)}
    scores = evaluate_model(model, task=task, identity=identity, config=config, clips=SOURCE, **told)
    assert {score.details["unit"] for score in scores} == {"clips"}
    found = {score.head: score for score in scores if score.metric == "accuracy"}
    assert (found["linear"].details["backbone"], found["finetune"].details["backbone"]) == ("frozen", "fine-tuned")
    if is_video:  # time attention starts with a last layer of zeros, so the frozen network does not know an order
        assert found["linear"].value == 0.5
    else:
        assert found["finetune"].value > 0.9
    stored = open_score(found["finetune"], tmp_path)
    assert from_predictions(stored) == found["finetune"].value
    assert from_head(stored, ramps, device="cpu", clips=SOURCE, clip_network=find_video_network) == found["finetune"].value
    predictor = open_predictor(found["finetune"], tmp_path, cache_dir=tmp_path, device="cpu", clip_network=find_video_network)
    item = task.split("test")[0]
    windows = clip_pixels(item, SOURCE, size=28, interpolation="bicubic", num_frames=4, num_windows=2)
    (row,) = [row for row in stored.predictions.to_pylist() if row["path"] == Path(item.path).name]
    np.testing.assert_allclose(predict_clips(predictor, [windows])[0].probabilities, row["probabilities"], atol=1e-5)
    assert predictor.clips is not None
    frozen = replace(predictor, clips=replace(predictor.clips, network=load_clip_backbone(model, config)))
    assert abs(predict_clips(frozen, [windows])[0].probabilities[0] - row["probabilities"][0]) > 1e-3


def test_a_network_whose_weights_are_not_at_hand_is_not_trained() -> None:
    with pytest.raises(BackboneError, match="weights are not at hand"):
        clip_trunk(cast(ClipBackbone, object()), EvaluateConfig(device="cpu"))


def test_a_table_is_read_with_whole_videos_and_groups(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    table = tmp_path / "clips.csv"
    table.write_text("video,start_s,end_s,label,patient\na.mp4,1.5,3,dissection,P1\na.mp4,,,closure,P1\nb.mp4,0,2,closure,\n")
    items, _ = read_clip_table(table, tmp_path)
    assert [(item.span, item.label, Path(item.group).name) for item in items] == [
        ((1.5, 3.0), "dissection", "P1"),
        ((0.0, np.inf), "closure", "P1"),
        ((0.0, 2.0), "closure", "b.mp4"),
    ]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("video,start_s,end_s,label\na.mp4,2,2,x\n", "line 2: the clip goes from 2 s to 2 s"),
        ("video,start_s,end_s,label\na.mp4,-1,2,x\n", "goes from -1 s"),
        ("video,start_s,end_s,label\na.mp4,soon,2,x\n", "'soon' is no time"),
        ("video,start_s,end_s,label\na.mp4,0,2,\n", "line 2 has no label"),
        ("video,start_s,end_s,label\n../a.mp4,0,2,x\n", "is outside"),
        ("film,start_s,end_s,label\na.mp4,0,2,x\n", "none called video"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: str, sentence: str) -> None:
    (tmp_path / "clips.csv").write_text(rows)
    with pytest.raises(TaskError, match=sentence):
        read_clip_table(tmp_path / "clips.csv", tmp_path)


def test_clips_outside_their_video_are_left_out_up_to_a_limit(ramps: Path, tmp_path: Path) -> None:
    task = resolve_task("clips", ramps)
    first, second = task.items[:2]
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"no array")
    late = replace(task, items=(replace(first, span=(1.5, 9.0)), *task.items[1:]))
    found, _ = readable_clips(late, SOURCE, num_frames=8)
    assert len(found.items) == len(task.items) - 1
    assert "1.70 s long, and the clip goes from 1.5 s to 9 s" in found.unreadable[0]
    assert found.notes[-1] == "unreadable: 1 of 24 clips are left out (p0-brighter.npy)"
    both = replace(late, items=(late.items[0], replace(second, path=str(broken)), *task.items[2:]))
    with pytest.raises(TaskError, match=r"2 of 24 clips cannot be used, more than --max-unreadable 0\.01"):
        readable_clips(both, SOURCE, num_frames=8)


def test_equal_clips_have_equal_ids_wherever_they_lie(ramps: Path) -> None:
    task = resolve_task("clips", ramps)
    found, first = readable_clips(task, SOURCE, num_frames=8)
    assert found.items[0].span == (0.0, 1.7)
    shorter = replace(task, items=(replace(task.items[0], span=(0.0, 1.0)), *task.items[1:]))
    assert readable_clips(shorter, SOURCE, num_frames=8)[1].data_id != first.data_id


def test_every_moment_that_is_scored_is_looked_at(ramps: Path) -> None:
    task = resolve_task("clips", ramps)
    read: list[list[float]] = []

    def noted(path: str, seconds: Sequence[float]) -> npt.NDArray[np.uint8]:
        read.append(list(seconds))
        return read_array(path, seconds)

    one = replace(task, items=(replace(task.items[0], span=(0.0, 1.6)),))
    readable_clips(one, ClipSource(read=noted, duration=array_seconds), num_frames=2, num_windows=2)
    np.testing.assert_allclose(read, [[0.2, 0.6, 1.0, 1.4]])
