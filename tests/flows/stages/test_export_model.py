"""Exported models as other programs read them, and their cards, which tell no name of a hospital's file, folder or person."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import timm.data
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from flows.cli.cli import main
from pretrain.model import forward_tokens
from pretrain.video.export import load_video_backbone, write_video_backbone
from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeSizes
from tests.helpers.model_lake import DATASET_ID, HOSTILE, LANDMARKS_ID, OWN_ID, make_model_lake, model_config, random_teacher
from warehouse.lake import open_lake
from warehouse.records import Checkpoint

Exported = tuple[Path, Checkpoint, Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A lake, its checkpoint, and that checkpoint in all formats."""
    folder = tmp_path_factory.mktemp("models")
    checkpoint = make_model_lake(folder / "lake")
    out = folder / "out"
    (folder / ".out.partial").mkdir()
    (folder / ".out.partial" / "of an export that was killed").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _refuse)
        assert export(folder / "lake", checkpoint.run_id, out, "--format", "timm", "dinov2", "onnx") == 0
    return folder / "lake", checkpoint, out


def _refuse(*_: object) -> None:
    raise AssertionError("an export reaches for a network")


def export(lake: Path, checkpoint: str | Path, out: Path, *options: str) -> int:
    return main(["export-model", str(checkpoint), "--lake", str(lake), "--out", str(out), *options])


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def expected(images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return forward_tokens(random_teacher(model_config()).backbone, images)[0]


def test_a_folder_has_all_that_a_hub_takes_and_the_hashes_of_it(exported: Exported) -> None:
    _, checkpoint, out = exported
    assert sorted(path.name for path in out.iterdir()) == [
        *(".gitattributes", "README.md", "SHA256SUMS", "config.json", "dinov2.json", "dinov2_pretrain.pth"),
        *("heads.safetensors", "model.onnx", "model.safetensors"),
    ]
    assert not (out.parent / ".out.partial").exists()
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    sums = dict(line.split("  ")[::-1] for line in (out / "SHA256SUMS").read_text().splitlines())
    assert sums["model.safetensors"] == checkpoint.checkpoint_id
    assert "*.safetensors filter=lfs diff=lfs merge=lfs -text" in (out / ".gitattributes").read_text()


def test_timm_reads_the_hub_folder(exported: Exported, images: torch.Tensor, expected: torch.Tensor) -> None:
    foreign: Any = timm
    model = foreign.create_model(f"local-dir:{exported[2]}", pretrained=True, num_classes=0).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-6)
    data = foreign.data.resolve_model_data_config(model)
    assert (tuple(data["mean"]), tuple(data["std"]), tuple(data["input_size"])) == ((0.5, 0.4, 0.3), (0.3, 0.2, 0.1), (3, 28, 28))
    heads = load_file(exported[2] / "heads.safetensors")
    assert {name.split(".")[0] for name in heads} == {"mask_token", "dino_head", "ibot_head"}


def test_the_reference_layout_has_the_trained_mask_token(exported: Exported, images: torch.Tensor, expected: torch.Tensor) -> None:
    state = torch.load(exported[2] / "dinov2_pretrain.pth", weights_only=True)
    assert torch.equal(state["mask_token"], random_teacher(model_config()).mask_token)
    sizes: dict[str, Any] = {"img_size": 28, "embed_dim": 24, "depth": 2, "num_heads": 2}
    overlay = {"file": str(exported[2] / "dinov2_pretrain.pth"), "hf_hub_id": None, "url": ""}
    model = timm.create_model(
        "vit_small_patch14_reg4_dinov2", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, **sizes
    ).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-6)
    told = json.loads((exported[2] / "dinov2.json").read_text())
    assert {name: told[name] for name in ("patch_size", "num_register_tokens", "block_chunks", *sizes)} == {
        **sizes,
        "patch_size": 14,
        "num_register_tokens": 4,
        "block_chunks": 0,
    }


def test_onnx_runtime_reads_the_file_and_what_to_normalise_by(exported: Exported, images: torch.Tensor, expected: torch.Tensor) -> None:
    session = onnxruntime.InferenceSession(str(exported[2] / "model.onnx"))
    np.testing.assert_allclose(session.run(["features"], {"image": images.numpy()})[0], expected, atol=1e-4)
    told = session.get_modelmeta().custom_metadata_map
    assert (json.loads(told["mean"]), json.loads(told["std"]), told["image_size"]) == ([0.5, 0.4, 0.3], [0.3, 0.2, 0.1], "28")
    assert told["endoforge_checkpoint"] == exported[1].checkpoint_id


def test_the_hub_library_reads_the_card(exported: Exported) -> None:
    card = ModelCard.load(exported[2] / "README.md")
    assert card.data.to_dict() == {
        "license": "other",
        "license_name": "to-be-set-by-the-owner",
        "library_name": "timm",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["timm", "image-feature-extraction", "dinov2", "medical", "endoscopy", "gastroenterology", "endoforge"],
        "datasets": ["colon-7k"],
    }
    assert "**to-be-set-by-the-owner**: nobody has set a licence" in card.text


def test_the_card_tells_data_training_scores_and_leaks(exported: Exported) -> None:
    text = (exported[2] / "README.md").read_text()
    for said in (
        f"Dataset `colon-7k`, content id `{DATASET_ID}`: 8 images from 4 videos, 2.0 hours of footage.",
        "Privacy: no person has looked through a sample of the training images.",
        "| recipe | smoke and the changes below |",
        "| step | 6 of 6, 8 images each: 48 in all |",
        "| time in steps | 21 seconds, from the logged images a second |",
        "| workers | 2 on the CPU at the last start |",
        "| validation | knn_macro_f1 0.500, the highest score of its run |",
        "| optim.base_lr | 0.002 | 0.004 |",
        "Measured from step 3 on to the end of the run, by counters of the machine: GPUs (NVML) not measured, processors (RAPL) 0.500 kWh.",
        f"### landmarks\n\nData `{LANDMARKS_ID[:16]}`, 60 items of 6 groups.",
        "| knn | macro f1 | efficientnet-lite0 | 0.900 [0.850, 0.950] |",
        "| knn | macro f1 | this model | 0.432 [0.300, 0.550] |",
        "| knn | macro f1 | random weights | 0.250 [0.200, 0.300] |",
        f"### a benchmark of the owner\n\nData `{OWN_ID[:16]}`",
        "| knn | macro f1 | this model | 0.500 (no interval: one group) |",
        "| knn | macro f1 | encoder 3c3c3c3c3c3c3c3c | 0.600 (no interval: one group) |",
        "compared with 612 held-out pictures, 7 copies were found and 31 frames left out",
        "It is no medical device.",
        f"endoforge lineage --lake LAKE {exported[1].checkpoint_id[:16]}",
        "the mean 0.5, 0.4, 0.3 taken away, and are divided by 0.3, 0.2, 0.1",
    ):
        assert said in text, said
    verdicts = re.findall(r"Leaks within the benchmark: (.*)", text)
    assert verdicts[0] == "no patient and no byte-identical image stands in two of its splits."
    assert verdicts[1] == "**leaks**: 2 kinds of overlap between its splits were found, so these scores are too high."


def test_no_hostile_name_reaches_a_file_of_the_export(exported: Exported) -> None:
    lake, _, out = exported
    private = [*HOSTILE, "doe", "jane", "onerror", "/mnt/pacs", ".mp4", str(lake), "1957"]
    for path in out.iterdir():
        content = path.read_bytes().lower()
        for name in private if path.suffix in (".md", ".json", "") else [*HOSTILE, "/mnt/pacs", str(lake)]:
            assert name.lower().encode() not in content, (path.name, name)


def test_the_lineage_knows_the_export(exported: Exported, capsys: pytest.CaptureFixture[str]) -> None:
    lake, checkpoint, out = exported
    assert main(["lineage", "--lake", str(lake), checkpoint.checkpoint_id]) == 0
    tree = capsys.readouterr().out
    assert "(export_model, complete" in tree
    assert f"({out.as_uri()})" in tree


def test_a_licence_and_a_title_are_set(exported: Exported, tmp_path: Path) -> None:
    lake, checkpoint, _ = exported
    assert export(lake, checkpoint.checkpoint_id[:10], tmp_path / "a", "--license", "cc-by-nc-4.0", "--title", "Colon one") == 0
    card = ModelCard.load(tmp_path / "a" / "README.md")
    assert (card.data.license, card.data.datasets) == ("cc-by-nc-4.0", ["colon-7k"])
    assert "\n# Colon one\n" in card.text
    step = lake / "runs" / checkpoint.run_id / "checkpoints" / "step_0000006"
    assert export(lake, step, tmp_path / "b", "--license", "our-hospital-1.0") == 0
    front = yaml.safe_load((tmp_path / "b" / "README.md").read_text().split("---\n")[1])
    assert (front["license"], front["license_name"], front["datasets"]) == ("other", "our-hospital-1.0", ["colon-7k"])


def test_a_checkpoint_from_elsewhere_gets_a_card_that_says_what_is_not_known(exported: Exported, tmp_path: Path) -> None:
    _, checkpoint, out = exported
    with open_lake(tmp_path / "other", create=True):
        pass
    assert export(tmp_path / "other", out, tmp_path / "again", "--format", "onnx", "--image-size", "56") == 0
    text = (tmp_path / "again" / "README.md").read_text()
    assert f"Checkpoint `{checkpoint.checkpoint_id}`" in text
    assert "Not known: no finished run of the lake that wrote this card made the checkpoint." in text
    assert "None: `endoforge evaluate` has not scored this checkpoint." in text
    session = onnxruntime.InferenceSession(str(tmp_path / "again" / "model.onnx"))
    assert session.run(None, {"image": np.zeros((1, 3, 56, 56), np.float32)})[1].shape == (1, 16, 24)


def test_a_video_backbone_is_written_as_it_is_with_a_card_of_clips(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = SpaceTimeSizes(embed_dim=12, depth=1, num_heads=2, image_size=32, num_frames=4)
    write_video_backbone(DividedSpaceTimeViT(sizes), tmp_path / "video")
    assert export(exported[0], tmp_path / "video", tmp_path / "out") == 0
    assert load_video_backbone(tmp_path / "out").sizes == sizes
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.to_dict()["tags"][:2] == ["video", "endo-fm"]
    for said in ("for clips of gastrointestinal endoscopy", "gives 12 features a clip", "RGB, 4 frames at 32 x 32 pixels, patches of 16"):
        assert said in card.text
    assert export(exported[0], tmp_path / "video", tmp_path / "onnx", "--format", "onnx") != 0
    assert "holds a video network, which files for DINOv2 and ONNX cannot hold; leave --format out" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said_and_nothing_is_left(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake, checkpoint, out = exported
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_bytes((out / "config.json").read_bytes())
    (damaged / "model.safetensors").write_bytes((out / "model.safetensors").read_bytes()[:-100])
    for arguments, sentence in (
        ((checkpoint.run_id, out), "is there already, and an export is never mixed with other files"),
        (("pretrain-0", tmp_path / "a"), f"with checkpoints: {checkpoint.run_id}"),
        ((damaged, tmp_path / "b"), "is not a whole safetensors file"),
        ((checkpoint.run_id, tmp_path / "c", "--license", "Ours (c)"), "give an id of small letters, digits, dots and dashes"),
        ((checkpoint.run_id, tmp_path / "d", "--image-size", "56"), "without --format onnx"),
        ((checkpoint.run_id, tmp_path / "e", "--format", "onnx", "--image-size", "30"), "not a multiple of the patch size 14"),
    ):
        assert export(lake, *arguments) == 1, sentence
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]
