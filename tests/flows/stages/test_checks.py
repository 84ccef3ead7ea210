"""Mistakes in what a person types: named at once, before Prefect or torch is loaded, and before anything is made."""

import json
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from curation.config import CurateConfig
from curation.embedding.encoder_name import check_timm_name
from curation.phantom.phantom import render_video
from flows.job import Job
from flows.runners.runners import SerialRunner, make_runner
from flows.stages.checks import check_encoder
from flows.stages.curate import run_curate
from tests.flows.conftest import TINY, endoforge
from tests.helpers.growth_lake import ENCODER_ID, make_lake
from warehouse.lake import LakeError, open_lake

DRIVER = """
import contextlib, io, json, sys
from flows.cli.cli import main
answers = []
for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(arguments)
    heavy = [name for name in ("prefect", "ray", "sklearn", "timm", "torch") if name in sys.modules]
    answers.append([code, said.getvalue(), heavy])
print(json.dumps(answers))
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    (folder / "videos").mkdir(parents=True)
    render_video(folder / "videos" / "a.mp4", config=TINY, patient=0)
    (folder / "empty").mkdir()
    for number in range(12):
        place = folder / "labelled" / ("train", "val", "test")[number % 3] / ("sound", "polyp")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 20, 90, 70)).save(place / f"{number}.png")
    (folder / "a file").write_text("no lake")
    (folder / "columns.csv").write_text("name,size\nx,1\n")
    (folder / "bad.csv").write_text("uri,surgeon\na.mp4,nobody\n")
    return folder


def test_wrong_settings_are_named_in_one_sentence_before_anything_starts(inputs: Path) -> None:
    lake = str(inputs / "new" / "lake")
    run = ["run", str(inputs / "videos"), "--lake", lake, "--size", "10", "--recipe", "smoke"]
    there = inputs / "there"
    open_lake(there, create=True).close()
    open_lake(inputs / "outer" / "lake", create=True).close()
    curate = ["curate", "--lake", str(there), "--name", "set", "--size", "10"]
    score, labelled = ["evaluate", "--lake", str(there)], ["--task", "auto", "--data", str(inputs / "labelled")]
    cases = [
        ([*run, "--size", "-5"], "size -5 is no number of images"),
        ([*run, "--recipe", "demo"], "size is 10, fewer than one batch of 64 images; give that or more, or another recipe"),
        ([*run, "--recipe", "vitx"], "no recipe called 'vitx'"),
        ([*run, "--name", "bad name!"], "dataset name 'bad name!' cannot be part of a file name"),
        ([*run, "--validation", str(inputs / "nowhere")], "nowhere does not exist"),
        ([*run, "--validation", str(inputs / "empty")], "empty"),
        ([*run, "--task", "colons"], "unknown task 'colons'"),
        ([*run, "--workers", "0"], "workers is 0; give 1 or more"),
        ([*run, "--train-workers", "0"], "train_workers is 0"),
        ([*run, "--train-workers", "2", "--runner", "serial"], "the runner serial has one process"),
        ([*run, "--train-workers", "3"], "cannot share batches of 8 images evenly"),
        ([*run, "--holdout", str(inputs / "nowhere")], "the hold-out .*nowhere' does not exist"),
        ([*run, "--holdout", str(inputs / "columns.csv")], "has the columns name, size"),
        ([*run, "--embed.encoder", "vit_smal_patch14_dinov2"], "did you mean vit_small_patch14_dinov2"),
        ([*run, "--embed.encoder", str(inputs / "empty")], "has no config.json"),
        ([*run, "--lake", str(inputs / "a file")], "'.*a file' is no folder"),
        ([*run, "--lake", str(inputs / "a file" / "lake")], "a file' is no folder"),
        (["run", "--lake", lake, "--size", "10", "--recipe", "smoke"], "no video was named"),
        (["run", str(inputs / "nowhere"), *run[2:]], "nowhere' is no file, no folder that holds one"),
        (["run", str(inputs / "*.avi"), *run[2:]], "no glob that matches anything"),
        (["run", str(inputs / "bad.csv"), *run[2:]], "has the columns uri, surgeon"),
        (["run", "nothing://bucket/videos", *run[2:]], "no kind of file system that fsspec knows"),
        (["ingest", str(inputs / "videos"), "--lake", lake, "--workers", "0"], "workers is 0"),
        (["ingest", "--lake", lake], "no video was named"),
        (["ingest", str(inputs / "empty"), "--lake", lake], "no folder that holds one"),
        (["ingest", str(inputs / "videos"), "--lake", str(inputs / "a file")], "is no folder"),
        (["demo", "--out", str(inputs / "a file")], "is no folder"),
        (["demo", "--out", lake, "--size", "0"], "size 0 is no number"),
        (["demo", "--out", lake, "--size", "10", "--recipe", "demo"], "size is 10, fewer than one batch of 64 images"),
        (["demo", "--out", lake, "--recipe", "vitx"], "no recipe called"),
        ([*curate, "--name", str(inputs / "new" / "x")], "cannot be part of a file name"),
        ([*curate, "--name", "../x"], "cannot be part of a file name"),
        ([*curate, "--nested", "10"], "nested .10,. are to lie within 10"),
        ([*curate, "--name", "n" * 79, "--nested", "5", "2"], "cannot be part of a file name"),
        ([*curate, "--holdout", str(inputs / "nowhere")], "does not exist"),
        (["embed", "--lake", lake], "there is no lake in"),
        (["embed", "--lake", str(there), "--encoder", "resnot"], "encoder 'resnot' is neither"),
        (["pretrain", "--lake", str(there), "--dataset", "nope", "--recipe", "smoke"], "no dataset.*nope"),
        (["pretrain", "--lake", str(there), "--dataset", "nope", "--recipe", "smoke", "--task", "colons"], "unknown task"),
        ([*score, "--model", "efficientnet-lite0", "--task", "auto", "--data", str(inputs / "nowhere")], "does not exist"),
        (
            [*score, "--model", "efficientnet-lite0", "resnot", *labelled],
            "--model resnot: encoder 'resnot' is neither.*and 'resnot' is no",
        ),
        ([*score, "--model", "efficientnet-lite0", *labelled, "--heads", "linaer"], "'linaer' is no head; give .* Did you mean 'linear'?"),
        ([*score, "--model", "efficientnet-lite0", *labelled, "--heads", "fpn"], "head 'fpn' does not serve classification labels"),
        ([*score, "--model", str(inputs / "empty"), *labelled], "--model .*empty is a folder without model.safetensors"),
        (
            ["evaluate", "--lake", lake, "--model", "efficientnet-lite0", *labelled],
            "no lake in .*leave --lake out and scores go to",
        ),
        (["evaluate", "--lake", str(inputs / "outer"), "--model", "x", *labelled], "did you mean .*outer/lake?"),
        (["remove-out-of-body", "--lake", str(there), "--labels", str(inputs / "nowhere")], "no folder inside and no folder outside"),
    ]
    before = sorted(inputs.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input=json.dumps([words for words, _ in cases]), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for (words, message), (code, said, heavy) in zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert (code, heavy) == (1, []), (words, said)
        assert said.startswith("endoforge: "), words
        assert said.count("\n") == 1, (words, said)
        with pytest.raises(ValueError, match=message):
            raise ValueError(said)
    assert sorted(inputs.rglob("*")) == before


def test_a_name_that_timm_has_is_looked_for_by_timm_itself() -> None:
    check_timm_name("vit_small_patch14_dinov2.lvd142m")
    check_timm_name("resnet50")


def test_the_encoders_of_the_installation_and_of_a_folder_pass(tmp_path: Path) -> None:
    from curation.embedding.config import EmbedConfig

    check_encoder(EmbedConfig())
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    check_encoder(EmbedConfig(encoder=str(tmp_path)))
    with pytest.raises(ValueError, match="no CUDA device"):
        check_encoder(EmbedConfig(device="cuda"))


def test_no_runner_has_no_workers() -> None:
    with pytest.raises(ValueError, match="workers is 0"):
        make_runner("processes", 0)


def curated(lake: Path, name: str, *, size: int, seed: int = 0) -> str:
    with open_lake(lake) as opened:
        return run_curate(
            Job(lake=opened, runner=SerialRunner()), name=name, encoder_id=ENCODER_ID, config=CurateConfig(size=size, seed=seed)
        ).dataset_id


def attempt(lake: Path, size: int) -> str:
    """The dataset's id, or why there is none."""
    try:
        return curated(lake, "set", size=size)
    except (LakeError, ValueError) as error:
        return str(error)


def test_a_taken_name_is_refused_before_the_work_where_the_content_must_differ(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    make_lake(lake, num_frames=60, dim=16).close()
    first = curated(lake, "set", size=30)
    with open_lake(lake) as opened:
        runs = opened.rows("SELECT count(*) AS n FROM runs")
    for size, seed in ((20, 0), (40, 0), (30, 1)):
        with pytest.raises(LakeError, match=r"the name 'set' is taken by dataset \w+ of 30 images"):
            curated(lake, "set", size=size, seed=seed)
    with pytest.raises(LakeError, match="the name 'set' is taken"):
        curated(lake, "set", size=20)
    with open_lake(lake) as opened:
        assert opened.rows("SELECT count(*) AS n FROM runs") == runs  # not even a failed one: nothing had begun
    assert curated(lake, "set", size=30) == first
    everything = curated(lake, "all", size=1000)
    assert curated(lake, "all", size=2000) == everything  # all candidates again: the same content by another number


def num_selections(lake: Path) -> int:
    with open_lake(lake, read_only=True) as opened:
        return int(opened.rows("SELECT count(*) AS n FROM runs WHERE stage = 'select'")[0]["n"])


def test_two_curations_of_one_name_do_not_touch_each_others_files(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    make_lake(lake, num_frames=60, dim=16).close()
    (lake / "staging").mkdir(exist_ok=True)

    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        with FileLock(lake / "staging" / "dataset-set.lock"):  # both are at work, and neither comes farther than the tars
            waiting = [pool.submit(attempt, lake, size) for size in (30, 20)]
            deadline = time.monotonic() + 300
            while num_selections(lake) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.5)
            assert not any(future.done() for future in waiting)
        ended = [future.result() for future in waiting]
    (refused,) = [text for text in ended if "is taken" in text]
    (made,) = [text for text in ended if text != refused]
    with open_lake(lake) as opened:
        (dataset,) = opened.rows("SELECT dataset_id, num_images FROM datasets")
        images = opened.rows("SELECT count(*) AS n FROM shard_frames")
    assert dataset["dataset_id"] == made
    assert images == [{"n": dataset["num_images"]}]
    assert {path.parent.name for path in (lake / "staging").glob("*/*") if path.is_dir()} == {"shards"}


@pytest.mark.slow
def test_an_ingest_whose_files_are_all_rejected_fails_and_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").touch()
    (folder / "b.mp4").write_text("no video at all")
    (folder / "c.mp4").write_text("nor is this")
    lake = tmp_path / "lake"
    for _ in range(2):  # what was rejected before is no better today
        ended = endoforge("ingest", folder, "--lake", lake, "--text", "off", "--runner", "serial")
        assert ended.code == 1
        assert "no file gave a video; rejected: 2 not_a_video (such as file://" in ended.err
        assert "1 empty (file://" in ended.err
    render_video(folder / "d.mp4", config=TINY, patient=0)
    assert endoforge("ingest", folder, "--lake", lake, "--text", "off", "--runner", "serial").code == 0
    for name in "abc":
        (folder / f"{name}.mp4").rename(tmp_path / f"{name}.mp4")
    again = endoforge("ingest", *(tmp_path / f"{name}.mp4" for name in "abc"), "--lake", lake, "--text", "off", "--runner", "serial")
    assert again.code == 1
