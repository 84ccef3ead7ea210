from __future__ import annotations

import torch

from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeSizes
from pretrain.video.time_order import sinusoids, with_time_order

SIZES = SpaceTimeSizes(embed_dim=12, depth=2, num_heads=2, image_size=32, num_frames=4)


def test_sinusoids_begin_with_sines_at_zero_and_cosines_at_one() -> None:
    found = sinusoids(3, 4)[0]
    torch.testing.assert_close(found[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(found[1], torch.tensor([0.84147, 0.54030, 0.09983, 0.99500]), atol=1e-4, rtol=0)
    assert sinusoids(2, 5).shape == (1, 2, 5)


def test_a_fresh_network_gives_a_clip_and_its_reverse_one_vector_until_it_is_told_their_order() -> None:
    torch.manual_seed(0)
    network, clips = DividedSpaceTimeViT(SIZES).eval(), torch.randn(2, 3, 4, 32, 32)
    ordered = with_time_order(network, clips)
    with torch.no_grad():
        torch.testing.assert_close(network(clips).cls, network(clips.flip(2)).cls)
        assert (ordered(clips).cls - ordered(clips.flip(2)).cls).abs().max() > 1e-3
        patches = network.patch_embed(clips.transpose(1, 2).flatten(0, 1))
    assert network.time_embed.count_nonzero() == 0
    torch.testing.assert_close(ordered.time_embed, patches.square().mean().sqrt() * sinusoids(4, 12))
