"""The example of an encoder, installed from outside and used by real commands."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm

from tests.helpers.films import room, tissue, write_video
from tests.helpers.plug_ins import REPOSITORY, commands, endoforge, install, package
from warehouse.lake import open_lake

EXAMPLE = REPOSITORY / "examples" / "encoder_example"
ENCODER_ID = "e887b8bf457818b0ff173eb209a6d3a2c0cd5701e17a110f5d151d6a99c4f633"
SMALL = ("--runner", "serial")


def rows(lake: Path, statement: str) -> list[dict[str, object]]:
    with open_lake(lake, read_only=True) as opened:
        return opened.rows(statement)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install(EXAMPLE, tmp_path_factory.mktemp("installed") / "site")


@pytest.fixture(scope="module")
def lake(installed: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of a film, embedded by the example."""
    folder = tmp_path_factory.mktemp("lakes")
    film = write_video(folder / "film.mp4", [tissue(seed) for seed in range(6)])
    ingest = ["ingest", str(film), "--lake", str(folder / "lake"), "--text", "off", "--max-out-of-body", "1", *SMALL]
    embed = ["embed", "--lake", str(folder / "lake"), "--encoder", "color-grid", *SMALL]
    for code, said in commands(installed, ingest, embed):
        assert code == 0, said
    return folder / "lake"


def test_the_example_is_one_file_of_at_most_sixty_lines() -> None:
    (file,) = EXAMPLE.glob("*.py")
    assert len(file.read_text().splitlines()) <= 60


@pytest.mark.slow
def test_an_encoder_from_outside_embeds_and_plans(installed: dict[str, str], lake: Path) -> None:
    (part,) = rows(lake, "SELECT encoder_id, dim, num_frames FROM embeddings")
    assert part == {"encoder_id": ENCODER_ID, "dim": 96, "num_frames": 6}
    where = ["--lake", str(lake), "--encoder", "color-grid"]
    size = ["--name", "set", "--size", "4"]
    again, planned, other_size, unknown = commands(
        installed,
        ["embed", *where, *SMALL],
        ["curate", "--plan", *where, *size, *SMALL],
        ["embed", *where, "--image-size", "96", *SMALL],
        ["embed", "--lake", str(lake), "--encoder", "colour-grid", *SMALL],
    )
    assert again[0] == planned[0] == 0
    assert "every kept frame has its embedding already" in again[1]
    assert other_size == (1, "endoforge: encoder 'color-grid' takes images of 64 pixels, and image_size is 96; leave it out\n")
    assert unknown[0] == 1
    assert "nor a folder; installed packages have color-grid" in unknown[1]


def write_images(folder: Path, pictures: list[np.ndarray]) -> None:
    for number, picture in enumerate(pictures):
        (folder / f"{number % 6}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number % 6}" / f"{number}.png"), np.clip(picture, 0, 255).astype(np.uint8)[:, :, ::-1])


@pytest.mark.slow
def test_an_encoder_from_outside_finds_what_is_outside_the_body(installed: dict[str, str], lake: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "inside", [tissue(seed) for seed in range(10, 28)])
    write_images(tmp_path / "outside", [room(seed) for seed in range(18)])
    ((code, said),) = commands(
        installed,
        ["remove-out-of-body", "--lake", str(lake), "--labels", str(tmp_path), "--encoder", "color-grid", "--dry-run", *SMALL],
    )
    assert code == 0, said
    assert "AUC 1.000 by cross-validation on 36 images" in said
    assert "0 of 6 candidates are outside the body" in said


@pytest.mark.slow
def test_an_encoder_from_outside_is_the_baseline_of_an_evaluation(installed: dict[str, str], lake: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"depth": 1, "img_size": 32}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 32, 32)}, **options)
    timm.models.save_for_hf(model, str(tmp_path / "vit"), model_args=options, safe_serialization=True)
    lines = ["path,label,split,group"]
    (tmp_path / "classes").mkdir()
    for kind in ("images", "masks"):
        (tmp_path / "masks" / kind).mkdir(parents=True)
    for number in range(18):
        name, split = f"{number}.png", ("train", "val", "test")[number % 3]
        picture = np.full((40, 40, 3), 60 + 40 * (number % 2), np.uint8)
        cv2.rectangle(picture, (number, 8), (number + 12, 20), (0, 0, 255), -1)
        cv2.imwrite(str(tmp_path / "classes" / name), picture)
        cv2.imwrite(str(tmp_path / "masks" / "images" / name), picture)
        cv2.imwrite(str(tmp_path / "masks" / "masks" / name), 255 * (picture[:, :, 2] > picture[:, :, 0]).astype(np.uint8))
        lines.append(f"{name},{'ab'[number % 2]},{split},patient {number}")
    (tmp_path / "classes" / "labels.csv").write_text("\n".join(lines))
    splits = [f"{path},{split}" for path, _, split, _ in (line.split(",") for line in lines)]
    (tmp_path / "masks" / "split.csv").write_text("\n".join(splits))
    evaluate = ["evaluate", "--lake", str(lake), "--checkpoint", str(tmp_path / "vit"), "--encoder", "color-grid", *SMALL]
    quick = ["--task", "auto", "--num-bootstrap", "20", "--segmentation-epochs", "1"]
    for code, said in commands(
        installed, [*evaluate, *quick, "--data", str(tmp_path / "classes")], [*evaluate, *quick, "--data", str(tmp_path / "masks")]
    ):
        assert code == 0, said
    assert "encoder color-grid gives no patch tokens, so masks has no row of it" in said
    found = rows(lake, "SELECT task, model, model_id, head FROM leaderboard WHERE metric IN ('balanced_accuracy', 'dice')")
    by_encoder = {(row["task"], row["head"], row["model_id"]) for row in found if row["model"] == "color-grid"}
    assert by_encoder == {("classes", "knn", ENCODER_ID), ("classes", "linear", ENCODER_ID)}
    assert {row["model"] for row in found if row["task"] == "masks"} == {"vit", "random weights", "no picture"}


ENCODERS = """
import torch
from curation.embedding import EncoderSource, Preprocessing

SEEN = Preprocessing(image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0, crop_mode="center")

def source(name, load):
    return EncoderSource(name=name, architecture=name, preprocessing=SEEN, load=load)

def fails():
    raise OSError("no weights at /models/ours")

FAILS = source("fails", fails)
MAPS = source("maps", torch.nn.Identity)
FUNCTION = source("function", lambda: len)
RENAMED = source("another", torch.nn.Flatten)
FLAT = source("flat", torch.nn.Flatten)
NO_ENCODER = {}
"""


UNUSABLE = {
    "MISSING": "cannot be loaded (AttributeError",
    "NO_ENCODER": "is dict; name a curation.embedding.EncoderSource in its entry point",
    "RENAMED": "has the name 'another'; give it and its entry point one name",
    "FAILS": "cannot be used (OSError: no weights at /models/ours); repair or uninstall its package",
    "MAPS": "cannot be used (TypeError: 2 images gave Tensor of shape (2, 3, 32, 32), expected a vector each)",
    "FUNCTION": "cannot be used (TypeError: its loader gave builtin_function_or_method, expected a torch.nn.Module)",
}


@pytest.fixture(scope="module")
def answers(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """What `embed` says of each encoder of one package, most of them unusable."""
    points = {name.lower(): name for name in (*UNUSABLE, "FLAT")}
    ours = package(tmp_path_factory.mktemp("unusable"), "encoders-of-ours", ENCODERS, {"endoforge.encoders": points})
    asked = [["embed", "--lake", str(lake), "--encoder", name, *SMALL] for name in points]
    return dict(zip(points.values(), commands(ours, *asked), strict=True))


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_encoder_that_cannot_be_used_is_named_where_it_is_asked_for(name: str, answers: dict[str, tuple[int, str]]) -> None:
    code, named = answers[name]
    assert code == 1
    assert named.startswith(f"endoforge: the encoder '{name.lower()}' of encoders-of-ours (encoders_of_ours:{name}) {UNUSABLE[name]}")
    assert named.count("\n") == 1


def test_an_encoder_beside_those_that_cannot_be_used_works(answers: dict[str, tuple[int, str]]) -> None:
    code, said = answers["FLAT"]
    assert code == 0, said


def test_doctor_lists_encoders_and_tasks_of_other_packages(tmp_path: Path) -> None:
    points = {"endoforge.encoders": {"flat": "FLAT", "missing": "MISSING"}, "endoforge.tasks": {"no_task": "NO_ENCODER"}}
    out = endoforge(package(tmp_path / "site", "encoders-of-ours", ENCODERS, points), "doctor", "--runner", "serial")
    assert out.returncode == 1
    lines = out.stdout.splitlines()
    assert "ok     plug-in    the encoder 'flat' of encoders-of-ours (encoders_of_ours:FLAT)" in lines
    (place,) = [number for number, line in enumerate(lines) if line.startswith("WRONG  plug-in    the encoder 'missing' of")]
    assert "cannot be loaded (AttributeError" in lines[place + 1]
    (place,) = [number for number, line in enumerate(lines) if line.startswith("WRONG  plug-in    the task 'no_task' of")]
    assert "is dict; name an evaluation.tasks.Task in its entry point" in lines[place + 1]


def test_an_encoder_that_timm_cannot_build_is_not_exported(installed: dict[str, str], tmp_path: Path) -> None:
    code = f"from curation.embedding import EmbedConfig, export_encoder as e; e(EmbedConfig(encoder='color-grid'), {str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], env=installed, capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ValueError: encoder 'color-grid' cannot be exported, for timm cannot build color_grid_4x4; export a timm model"
    )
    assert not list(tmp_path.iterdir())
