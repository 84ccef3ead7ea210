"""`endoforge pretrain --init`: what it prints, what names the run, and the k-NN guard on a labelled folder."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch

from flows.cli.cli import main
from flows.stages.pretrain import init_artifacts
from pretrain.init_source import find_init
from tests.helpers.published import tiny
from tests.helpers.trained_lake import make_lake
from warehouse.lake import open_lake

QUICK = ["--recipe", "smoke", "--runner", "serial", "--train.num-loader-workers", "0", "--dino-head.num-prototypes", "16"]
SMALL = [
    "--model.embed-dim",
    "32",
    "--model.num-heads",
    "2",
    "--model.img-size",
    "32",
    "--augment.local-size",
    "16",
    "--train.batch-size",
    "4",
]


def labelled_folder(folder: Path) -> Path:
    """Dark and light images of every colour: 12 to learn from and 8 to score, each class half of them."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for number in range(20):
            label = ("dark", "light")[number % 2]
            tones = rng.integers(*((0, 90) if label == "dark" else (165, 255)), (6, 6, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"{number}.png"), cv2.resize(tones, (96, 96), interpolation=cv2.INTER_CUBIC))
            table.writerow([f"{number}.png", label, "train" if number < 12 else "val"])
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A lake, and a folder with the file of a plain ViT."""
    root = tmp_path_factory.mktemp("continued")
    (root / "public").mkdir()
    weights = {name: tensor.contiguous() for name, tensor in tiny("vit_small_patch16_224", img_size=64).state_dict().items()}
    head = {"head.weight": weights["norm.weight"][None].repeat(5, 1), "head.bias": weights["norm.bias"][:5].clone()}
    safetensors.torch.save_file(weights | head, root / "public" / "vit.safetensors")
    return make_lake(root / "lake"), root / "public"


def test_a_continuation_says_what_it_loaded_and_is_named_by_content(places: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    lake, public = places
    command = ["pretrain", "--lake", str(lake), "--dataset", "tiny", *QUICK, *SMALL, "--init"]
    file = public / "vit.safetensors"
    assert main([*command, str(file)]) == 0
    printed = capsys.readouterr()
    run = printed.out.strip()
    assert (
        f"--init {file}: 29 tensors loaded, 1 resampled (pos_embed 4x4 -> 2x2), 17 fresh (dino_head, ibot_head, mask_token), "
        "left out: head (2 tensors)"
    ) in printed.err
    told = json.loads((lake / "runs" / run / "config.json").read_text())["config"]
    assert (told["model"]["architecture"], told["model"]["layer_scale_init"], told["model"]["depth"]) == ("vit_small_patch16_224", 0.0, 2)
    assert (told["optim"]["base_lr"], told["optim"]["freeze_backbone_steps"]) == (1e-3, 2)
    shutil.copy(file, public / "moved.safetensors")
    assert main([*command, str(public / "moved.safetensors")]) == 0
    printed = capsys.readouterr()
    assert (printed.out.strip(), f"{run} is finished already" in printed.err) == (run, True)
    weights = safetensors.torch.load_file(file)
    safetensors.torch.save_file(weights | {"norm.bias": weights["norm.bias"] + 1}, public / "other.safetensors")
    ids = [init_artifacts(find_init(str(public / f"{name}.safetensors")), lake)[0].artifact_id for name in ("vit", "moved", "other")]
    assert ids[0] == ids[1] != ids[2]
    assert main(["lineage", "--lake", str(lake), run]) == 0
    tree = capsys.readouterr().out
    assert f"({file.as_uri()})" in tree
    assert "weights " in tree

    assert main([*command[:-1], "--init", run]) == 0  # of the first run's best checkpoint, with its heads
    printed = capsys.readouterr()
    assert f"--init {run}: 47 tensors loaded, 0 resampled, 0 fresh" in printed.err
    assert main(["lineage", "--lake", str(lake), printed.out.strip()]) == 0
    assert run in capsys.readouterr().out
    with open_lake(lake, read_only=True) as opened:
        kinds = opened.rows("SELECT a.kind FROM edges e JOIN artifacts a USING (artifact_id) WHERE run_id = $1", [printed.out.strip()])
    assert {"dataset", "checkpoint", "weights"} <= {str(row["kind"]) for row in kinds}


def test_help_shows_rate_frozen_steps_and_model_of_a_continuation(places: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    lake, public = places
    with pytest.raises(SystemExit):
        main(["pretrain", "--lake", str(lake), *QUICK, "--init", str(public / "vit.safetensors"), "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: 0.001)" in shown.partition("--optim.base-lr")[2][:200]
    assert "(default: 2)" in shown.partition("--optim.freeze-backbone-steps")[2][:300]
    assert "(default: vit_small_patch16_224)" in shown.partition("--model.architecture")[2][:300]


def test_the_knn_guard_stops_a_destructive_rate(places: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lake, public = places
    labelled = labelled_folder(tmp_path / "labelled")
    command = ["pretrain", "--lake", str(lake), "--dataset", "tiny", *QUICK, *SMALL, "--init", str(public / "vit.safetensors")]
    ruinous = [
        "--validation",
        str(labelled),
        "--optim.base-lr",
        "1e4",
        "--optim.freeze-backbone-steps",
        "0",
        "--checkpoint.every",
        "2",
        "--train.max-nonfinite-steps",
        "9",
    ]
    assert main([*command, *ruinous]) == 1
    said = capsys.readouterr().err
    assert "val/knn_" in said
    assert "below the 1.000 of the weights that this run started from, and step 0 has the best checkpoint" in said


def test_init_goes_with_neither_a_resumed_run_nor_weights_that_are_not_here(
    places: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lake, public = places
    command = ["pretrain", "--lake", str(lake), "--runner", "serial"]
    assert main([*command, "--resume", "pretrain-0", "--init", str(public / "vit.safetensors")]) == 1
    assert "--resume has its run's weights; leave --init out" in capsys.readouterr().err
    assert main([*command, "--dataset", "tiny", "--recipe", "smoke", "--init", "vit_base_patch14_dinov2.lvd142m"]) == 1
    assert "are not on this machine; add --allow-download, or give a file or folder" in capsys.readouterr().err
