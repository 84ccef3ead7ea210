"""Checkpoints of a run on clips: scored by views of clips and by labelled images; another number of frames is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from flows.stages.clip_validation import clip_checkpoint_scores, frame_network
from flows.stages.resume import changed_settings
from pretrain.recipes import recipe
from pretrain.video.export import write_video_backbone
from pretrain.video.fixed_views import FixedClipViews
from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeSizes
from tests.helpers.moving_clips import moving_clip, write_clips


def test_a_video_checkpoint_is_scored_by_its_clips_and_seen_as_a_network_of_images(tmp_path: Path) -> None:
    config = recipe("endofm-tiny")
    torch.manual_seed(0)
    model = DividedSpaceTimeViT(SpaceTimeSizes(embed_dim=12, depth=1, num_heads=2, patch_size=8, image_size=48, num_frames=4)).eval()
    write_video_backbone(model, tmp_path / "backbone", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    clips = write_clips(tmp_path / "clips", [moving_clip(number, num_frames=16, width=48, height=48) for number in range(4)])
    views = FixedClipViews(dataset_dir=clips, config=config, num_clips=4)
    metric, value, others = clip_checkpoint_scores(str(tmp_path / "backbone"), views=views)
    assert metric == "views/matching"
    assert 0 <= value <= 1
    assert others["views/matching_chance"] == 0.25

    network = frame_network(str(tmp_path / "backbone"), "cpu")
    assert (network.image_size, network.mean) == (48, (0.5, 0.5, 0.5))
    images = torch.rand(2, 3, 48, 48)
    with torch.inference_mode():
        assert network.module(images).equal(model(images.unsqueeze(2)).cls)


def test_another_number_of_frames_is_no_continuation() -> None:
    config = recipe("endofm")
    values = asdict(replace(config, train=replace(config.train, seed=3)))
    with pytest.raises(ValueError, match=r"--set video\.num_frames would change the frames or shape of a video network"):
        changed_settings(values, ["video.num_frames=16"])
    with pytest.raises(ValueError, match=r"--set video\.global_frames would change the frames"):
        changed_settings(values, ["video.global_frames=8,8"])
    assert changed_settings(values, ["optim.base_lr=0.001"]).optim.base_lr == 0.001
