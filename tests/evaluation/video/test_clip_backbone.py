from __future__ import annotations

import numpy as np
import torch

from evaluation.backbone import ModelRef, features_of, load_backbone
from evaluation.video.clip_backbone import ClipBackbone, ImageClipBackbone, clip_tensor

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 3, 28, 28, 3), dtype=np.uint8)


def test_an_image_backbone_sees_each_frame_alone_and_averages(vit_folder: str) -> None:
    backbone = load_backbone(ModelRef(model_id="m", label="m", path=vit_folder), device="cpu")
    clips = ImageClipBackbone(backbone)
    assert isinstance(clips, ClipBackbone)
    assert (clips.dim, clips.num_frames, clips.image_size) == (24, 8, 28)
    with torch.inference_mode():
        vectors, patches = clips.tokens(clip_tensor(FRAMES, mean=clips.mean, std=clips.std))
    assert (tuple(vectors.shape), tuple(patches.shape)) == ((2, 24), (2, 3, 2, 2, 24))
    for clip, frames in enumerate(FRAMES):
        of_images = features_of(backbone, frames)
        np.testing.assert_allclose(vectors[clip], of_images["last"].mean(0), atol=1e-5)
        np.testing.assert_allclose(patches[clip].mean((1, 2)), of_images["last+mean"][:, 24:], atol=1e-5)


def test_a_cnn_and_a_network_of_vectors_are_clip_backbones_too(cnn_folder: str) -> None:
    cnn = ImageClipBackbone(load_backbone(ModelRef(model_id="c", label="c", path=cnn_folder), device="cpu"))
    with torch.inference_mode():
        vectors, patches = cnn.tokens(torch.zeros(1, 3, 2, 64, 64))
    assert (tuple(vectors.shape), tuple(patches.shape)) == ((1, 1280), (1, 2, 4, 4, 432))


def test_frames_are_normalised_channel_by_channel() -> None:
    frames = np.zeros((1, 2, 1, 1, 3), np.uint8)
    frames[0, 1, 0, 0] = (255, 51, 0)
    clips = clip_tensor(frames, mean=(0.0, 0.1, 0.5), std=(1.0, 0.1, 0.5))
    assert tuple(clips.shape) == (1, 3, 2, 1, 1)
    np.testing.assert_allclose(clips[0, :, :, 0, 0], [[0, 1], [-1, 1], [-1, -1]], atol=1e-6)
