"""The reference checks 1 to 5, 7, 14 and 15 of the specification, and the shapes that callers rely on."""

from __future__ import annotations

import pytest
import torch

from pretrain.video.model import BlockDrops, DividedSpaceTimeViT, SpaceTimeBlock, SpaceTimeSizes, nearest_indices, resample_grid
from tests.pretrain.video.filler import block_parameters, det, figures, fill, small_network


def test_a_block_gives_the_reference_values() -> None:
    block = SpaceTimeBlock(12, 2).eval()
    fill(block_parameters(block), s=0.1)
    out = block(det((2, 1 + 2 * 3 * 3, 12), 0.9), 3)
    assert out.numel() == 456
    assert figures(out) == pytest.approx([7.7022008, 111.3007655, 0.140767, 0.9686643, 1.081417, 0.3814144], rel=1e-5, abs=1e-6)


def test_all_tokens_give_the_reference_values() -> None:
    tokens = small_network()(det((2, 3, 4, 32, 32), 0.0371))
    in_order = torch.cat((tokens.cls[:, None], tokens.patches.permute(0, 2, 3, 1, 4).flatten(1, 3)), 1)
    assert tokens.patches.shape == (2, 4, 2, 2, 12)
    assert figures(in_order)[:2] == pytest.approx([-1.268275, 55.198597], rel=1e-5, abs=5e-6)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 3, 4, 32, 32), [2.441789, 4.220053, 0.007158, 0.780399, -0.395165, 0.341624]),
        ((2, 3, 4, 48, 48), [2.466823, 4.213705, 0.007799, 0.782277, -0.384339, 0.347894]),
        ((2, 3, 2, 32, 32), [2.457712, 4.217471]),
        ((2, 3, 8, 32, 32), [2.536063, 4.209815]),
        ((2, 3, 1, 32, 32), [2.458194, 4.199108]),
        ((1, 3, 3, 48, 64), [1.265368, 2.109109, 0.008181, 0.783819, -0.379479, 0.354419]),
    ],
)
def test_clips_of_other_lengths_and_sizes_give_the_reference_values(shape: tuple[int, ...], expected: list[float]) -> None:
    cls = small_network()(det(shape, 0.0371)).cls
    assert figures(cls)[: len(expected)] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_without_time_the_order_of_frames_does_not_matter_and_with_it_does() -> None:
    model, clip = small_network().requires_grad_(False), det((1, 3, 4, 32, 32), 0.0371)
    shuffled = clip[:, :, [2, 0, 3, 1]]
    assert float((model(clip).cls - model(shuffled).cls).abs().max()) > 1e-6
    with torch.no_grad():
        model.time_embed.zero_()
    assert float((model.double()(clip.double()).cls - model(shuffled.double()).cls).abs().max()) < 1e-8


def test_positions_are_resampled_to_the_nearest_as_the_reference_does() -> None:
    assert nearest_indices(14, 6) == [0, 2, 4, 7, 9, 11]
    assert nearest_indices(14, 7) == [0, 2, 4, 6, 8, 10, 12]
    assert nearest_indices(14, 16) == [0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 13]
    assert [nearest_indices(8, wanted) for wanted in (1, 2, 3, 4, 5)] == [[0], [0, 4], [0, 2, 5], [0, 2, 4, 6], [0, 1, 3, 4, 6]]
    assert nearest_indices(8, 16) == [row for row in range(8) for _ in range(2)]
    assert nearest_indices(8, 25) == [row for row, times in enumerate((4, 3, 3, 3, 3, 3, 3, 3)) for _ in range(times)]
    grid = torch.arange(4.0).view(1, 4, 1)
    assert resample_grid(grid, 2, (2, 3), "nearest").flatten().tolist() == [0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize("resampling", ["nearest", "bicubic"])
def test_a_single_column_is_no_special_case(resampling: str) -> None:
    sizes = SpaceTimeSizes(embed_dim=12, depth=1, num_heads=2, image_size=32, num_frames=4, resampling=resampling)  # type: ignore[arg-type]
    assert DividedSpaceTimeViT(sizes)(torch.rand(1, 3, 3, 48, 16)).patches.shape == (1, 3, 3, 1, 12)


def test_the_published_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in DividedSpaceTimeViT(SpaceTimeSizes()).parameters()) == 121_258_752


def test_the_temporal_branch_drops_whole_lines_of_time_before_its_last_layer() -> None:
    block = SpaceTimeBlock(12, 2).train()
    fill(block_parameters(block), s=0.5)
    seen = []
    block.temporal_fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    num_frames, places = 4, 6
    time = torch.tensor([[0.0, 2, 2, 0, 0, 2], [2, 2, 2, 0, 2, 2]])
    drops = BlockDrops(time=time, frames=torch.ones(2, num_frames), clips=torch.ones(2))
    block(det((2, 1 + places * num_frames, 12), 0.9), num_frames, drops)
    is_zero = (seen[0] == 0).all(-1).view(2, places, num_frames)
    assert is_zero.all(-1).equal(time == 0)
    assert int(is_zero.sum()) == 4 * num_frames, "T tokens of one place each, not of a clip"


def test_dropped_frames_and_clips_are_left_as_they_are() -> None:
    block = SpaceTimeBlock(12, 2)
    fill(block_parameters(block), s=0.5)
    with torch.no_grad():
        block.temporal_fc.weight.zero_()
        block.temporal_fc.bias.zero_()
    x = det((2, 1 + 4 * 3, 12), 0.9)
    drops = BlockDrops(time=torch.ones(2, 4), frames=torch.tensor([[0.0, 1, 1], [0, 0, 0]]), clips=torch.tensor([0.0, 0]))
    out = block(x, 3, drops)
    assert out[1].equal(x[1])
    assert out[0, 1::3].equal(x[0, 1::3]), "the first frame's patches"
    assert not out[0, 2::3].allclose(x[0, 2::3])


def test_frames_that_are_no_whole_patches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"frames are 40x32 pixels, no multiple of patch_size 16; resize or crop them to one"):
        small_network()(torch.rand(1, 3, 2, 40, 32))
    with pytest.raises(ValueError, match=r"the shape \(1, 3, 32, 32\); give \(clips, 3, frames, height, width\)"):
        small_network()(torch.rand(1, 3, 32, 32))


def test_recomputing_and_hiding_change_what_they_should() -> None:
    model, clip = small_network(), det((1, 3, 2, 32, 32), 0.0371)
    plain = model(clip)
    assert model(clip, recompute=True).cls.equal(plain.cls)
    masks = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    token = torch.ones(1, 12)
    assert model(clip, masks=masks, mask_token=token).cls.equal(plain.cls)
    masks[0, 1, 0, 1] = True
    assert not model(clip, masks=masks, mask_token=token).cls.equal(plain.cls)
