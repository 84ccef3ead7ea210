import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from curation.filters.bubbles import bubble_share
from curation.filters.exposure import bright_share, dark_share, mean_luma
from curation.filters.motion import motion
from curation.filters.phash import hamming, near_duplicate_runs, perceptual_hash
from curation.filters.picture import inner_mask, shrink
from curation.filters.reflections import specular_share
from curation.filters.sharpness import laplacian_variance
from curation.filters.stool import stool_shares
from curation.ingest.config import IngestConfig, RequalifyConfig


def texture(seed: int = 0, height: int = 160, width: int = 256) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 200, (height // 8, width // 8)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


ALL = np.full((160, 256), 255, np.uint8)


def test_laplacian_variance_is_zero_on_a_ramp_and_falls_with_blur() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (160, 1))
    assert laplacian_variance(ramp, inner_mask(ALL)) == 0
    sharp = texture()
    assert laplacian_variance(sharp, ALL) > 4 * laplacian_variance(cv2.GaussianBlur(sharp, (0, 0), 4), ALL)


def test_laplacian_variance_of_a_checkerboard_is_what_the_kernel_gives() -> None:
    board = np.indices((160, 256)).sum(axis=0) % 2 * np.uint8(100)
    assert laplacian_variance(board.astype(np.uint8), inner_mask(ALL)) == pytest.approx(400.0**2)  # plus or minus four times 100


def test_only_pixels_inside_the_mask_count() -> None:
    gray = np.zeros((160, 256), np.uint8)
    gray[:, 128:] = 255
    left = np.zeros_like(gray)
    left[:, :100] = 255
    assert (mean_luma(gray, left), dark_share(gray, left), bright_share(gray, left)) == (0.0, 1.0, 0.0)
    assert (mean_luma(gray, ALL), dark_share(gray, ALL), bright_share(gray, ALL)) == (127.5, 0.5, 0.5)


def test_specular_pixels_are_bright_and_colourless() -> None:
    rgb = np.full((160, 256, 3), (180, 80, 60), np.uint8)
    rgb[:40] = (250, 250, 245)
    rgb[40:60] = (255, 240, 20)  # bright but yellow
    assert specular_share(rgb, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), ALL) == 0.25


def test_motion_is_the_mean_luma_difference_and_unknown_for_the_first_frame() -> None:
    gray = np.full((160, 256), 100, np.uint8)
    assert np.isnan(motion(gray, None, ALL))
    assert motion(gray, gray - 3, ALL) == 3.0


def test_inner_mask_keeps_away_from_the_edge_of_the_area_and_of_the_picture() -> None:
    inner = inner_mask(ALL)
    assert inner[4, 128] == 0
    assert inner[80, 128] == 255
    assert laplacian_variance(np.full((160, 256), 90, np.uint8), inner) == 0


@given(st.integers(40, 700), st.integers(40, 700))
def test_shrinking_keeps_the_mean(width: int, height: int) -> None:
    picture = texture(1, 640, 704)
    small = shrink(picture, width, height)
    assert small.shape == (height, width)
    assert abs(float(small.mean()) - float(picture.mean())) < 1.5


def bubbly(num_bubbles: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    rgb = np.stack([texture(4) * 0.5 + 90, texture(4) * 0.3 + 40, texture(4) * 0.3 + 30], axis=2).astype(np.uint8)
    for _ in range(num_bubbles):
        x, y = int(rng.integers(5, 125)), int(rng.integers(5, 155))
        cv2.circle(rgb, (x, y), int(rng.integers(3, 8)), (235, 225, 215), 1, cv2.LINE_AA)
    return rgb


def test_bubbles_are_found_where_they_crowd_and_nowhere_else() -> None:
    assert bubble_share(bubbly(0), ALL) == 0
    foam = bubbly(80)
    left, right = ALL.copy(), ALL.copy()
    left[:, 115:] = 0
    right[:, :150] = 0
    assert bubble_share(foam, left) > 0.7
    assert bubble_share(foam, right) == 0
    assert bubble_share((foam * 0.5).astype(np.uint8), left) > 0.7  # a darker picture of the same foam


def test_large_reflections_are_no_bubbles() -> None:
    rgb = bubbly(0)
    for x in range(30, 250, 60):
        cv2.circle(rgb, (x, 80), 9, (250, 250, 245), -1, cv2.LINE_AA)
    assert bubble_share(rgb, ALL) < 0.02


def profile(**shares: float) -> np.ndarray:
    """A colour profile with vivid hues: crimson 0-9 degrees, orange 20-29, amber 40-49, green 120-129."""
    steps = {"crimson": 0, "orange": 2, "amber": 4, "green": 12}
    vivid = np.zeros((2, 36), np.float32)
    for name, share in shares.items():
        vivid[1, steps[name]] = share
    return vivid


def test_stool_is_what_is_yellower_than_the_videos_own_tissue() -> None:
    crimson = [profile(crimson=0.9, amber=0.05)] * 5
    assert stool_shares([*crimson, profile(crimson=0.4, orange=0.3, amber=0.2)])[-1] == pytest.approx(0.3 + 0.15)
    orange = [profile(orange=0.9, amber=0.05)] * 5  # another processor's tissue
    assert stool_shares([*orange, profile(orange=1.0)])[-1] == 0
    assert stool_shares([*orange, profile(orange=0.3, amber=0.65)])[-1] == pytest.approx(0.6)
    green = [profile(green=0.9)] * 5
    assert stool_shares([*green, profile(amber=0.9)]).tolist() == [0.0] * 6
    dark = np.full((2, 36), np.nan, np.float32)
    assert stool_shares([*crimson, dark])[-1] == 0
    assert stool_shares([dark]).tolist() == [0.0]


def test_the_hash_ignores_noise_and_exposure_but_not_content() -> None:
    gray = texture(2)
    noisy = np.clip(gray + np.random.default_rng(0).normal(0, 3, gray.shape), 0, 255).astype(np.uint8)
    assert hamming(perceptual_hash(gray, ALL), perceptual_hash(noisy, ALL)) <= 4
    assert hamming(perceptual_hash(gray, ALL), perceptual_hash((gray * 0.8).astype(np.uint8), ALL)) <= 4
    assert hamming(perceptual_hash(gray, ALL), perceptual_hash(texture(3), ALL)) > 16


def test_the_hash_ignores_what_is_outside_the_mask() -> None:
    mask = ALL.copy()
    mask[:30] = 0
    first, second = texture(2), texture(2)
    second[:30] = 255
    assert perceptual_hash(first, mask) == perceptual_hash(second, mask)


def test_runs_are_compared_with_their_first_member() -> None:
    drifting = [0b0, 0b1, 0b11, 0b111, 0b1111]
    assert near_duplicate_runs(drifting, 2) == [range(0, 3), range(3, 5)]
    assert near_duplicate_runs([], 2) == []
    assert near_duplicate_runs([7], 0) == [range(0, 1)]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(0, 64))
def test_runs_cover_every_frame_once_in_order(hashes: list[int], distance: int) -> None:
    runs = near_duplicate_runs(hashes, distance)
    assert [position for run in runs for position in run] == list(range(len(hashes)))
    assert all(hamming(hashes[run[0]], hashes[position]) <= distance for run in runs for position in run)


@pytest.mark.parametrize(
    "changes", [{"blur_percentile": 101}, {"stool_percentile": -1}, {"share_floor": 2}, {"min_device_frames": 0}, {"max_bubble_share": 2}]
)
def test_thresholds_that_mean_nothing_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        RequalifyConfig(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"fps": -1}, {"jpeg_quality": 0}, {"max_side": 8}, {"max_out_of_body": 2}, {"timeout_s": 0}])
def test_a_config_that_no_video_satisfies_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        IngestConfig(**changes)  # type: ignore[arg-type]
