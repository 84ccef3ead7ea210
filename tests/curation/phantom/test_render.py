from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from curation.phantom.camera import Camera, Tiles, view_grid
from curation.phantom.patient import ContentArea, content_area_mask, draw_patient
from curation.phantom.render import render_view
from curation.phantom.scene import NUM_ANGLES, ROW_STEP, STATIONS, Polyp, Scene, build_scene, dome_radius
from curation.phantom.tissue import TILE_MARGIN, TILE_SIDE, TissueLayers, compose_tile, draw_layers


@pytest.fixture(scope="module")
def layers() -> TissueLayers:
    return draw_layers(3)


@pytest.fixture(scope="module")
def tiles(layers: TissueLayers) -> Tiles:
    return {kind: compose_tile(layers, kind) for kind in ("colonic", "villous", "squamous", "gastric", "polyp")}


def tube(radius: npt.NDArray[np.floating], polyps: tuple[Polyp, ...] = ()) -> Scene:
    rows = np.asarray(radius, dtype=np.float32)
    return Scene(
        station="descending_colon",
        tissue="colonic",
        radius=rows,
        turn=np.zeros_like(rows),
        end_wall=np.zeros(rows.shape[0], dtype=np.float32),
        first_depth=0.0,
        last_depth=1.0,
        bend=0.0,
        polyps=polyps,
    )


def dark_radius(image: npt.NDArray[np.float32]) -> float:
    """Mean radius in half sides of the dark disc at the middle, from its area."""
    side = image.shape[0]
    dark = image.max(axis=2) < 0.02
    return float(np.sqrt(dark.sum() / np.pi) / (side / 2))


def test_a_ring_hides_exactly_what_lies_behind_it_in_projection(tiles: Tiles) -> None:
    """A thin diaphragm of opening 0.4 at distance 2 is seen at 2 f 0.4 / (2 + sqrt(2^2 + 0.4^2)); behind it all is far and dark."""
    radius = np.ones((400, NUM_ANGLES))
    radius[round(2 / ROW_STEP) :] = 0.4
    radius[round(2 / ROW_STEP) + 4 :] = 30.0
    view = render_view(tube(radius), Camera(depth=0.0), view_grid(256), tiles)
    assert dark_radius(view.image) == pytest.approx(2 * 0.4 / (2 + np.hypot(2, 0.4)), rel=0.08)


def test_a_polyp_behind_a_fold_is_not_in_the_mask(tiles: Tiles) -> None:
    polyp = Polyp(angle=1.0, depth=1.5, radius=0.3, elongation=1.0, height=0.25, stalk=0.0, wall=1.0, seed=4)
    depth = np.arange(400)[:, None] * ROW_STEP + np.zeros((1, NUM_ANGLES))
    angle = np.arange(NUM_ANGLES)[None, :] * 2 * np.pi / NUM_ANGLES + np.zeros((400, 1))
    surface, margin = dome_radius(polyp, angle.astype(np.float32), depth.astype(np.float32))
    bare = np.where(margin > 0, np.minimum(surface, 1.0), 1.0)
    folded = bare.copy()
    folded[round(0.8 / ROW_STEP) : round(0.9 / ROW_STEP)] = 0.3
    camera, grid = Camera(depth=0.0), view_grid(192)
    seen = render_view(tube(bare, (polyp,)), camera, grid, tiles).polyp
    hidden = render_view(tube(folded, (polyp,)), camera, grid, tiles).polyp
    assert seen.sum() > 200
    assert hidden.sum() == 0
    rows, columns = np.nonzero(seen)
    center = np.arctan2(rows.mean() - 95.5, columns.mean() - 95.5)
    assert center == pytest.approx(1.0, abs=0.08)


def test_roll_turns_the_view_and_keeps_everything_else(tiles: Tiles) -> None:
    scene = build_scene("transverse_colon", seed=2)
    grid = view_grid(129)
    straight = render_view(scene, Camera(depth=2.0), grid, tiles).image
    turned = render_view(scene, Camera(depth=2.0, roll=np.pi / 2), grid, tiles).image
    assert np.abs(np.rot90(straight) - turned).mean() < 0.02
    assert np.abs(straight - turned).mean() > 0.05


def test_light_falls_off_with_distance_in_a_smooth_tube(tiles: Tiles) -> None:
    image = render_view(tube(np.ones((400, NUM_ANGLES))), Camera(depth=0.0), view_grid(200), tiles).image
    rings = [float(image[100, 100 + offset - 3 : 100 + offset + 3].mean()) for offset in (10, 30, 50, 80)]
    assert rings == sorted(rings)
    assert rings[-1] > 4 * rings[0]


def test_a_strong_bend_closes_the_view(tiles: Tiles) -> None:
    scene = tube(np.ones((400, NUM_ANGLES)))
    straight = render_view(scene, Camera(depth=0.0), view_grid(128), tiles).image
    bent = render_view(scene, Camera(depth=0.0, bend_x=0.5), view_grid(128), tiles).image
    assert straight[64, 64].max() < 0.03
    assert bent[64, 64].max() > 0.15


@pytest.mark.parametrize("station", STATIONS)
def test_every_station_renders_finite_light_and_neither_black_nor_white(tiles: Tiles, station: str) -> None:
    scene = build_scene(station, seed=5)
    for part in (0.1, 0.9):
        camera = Camera(depth=scene.first_depth + part * (scene.last_depth - scene.first_depth), look_x=0.2, look_y=-0.1, roll=4.0)
        image = render_view(scene, camera, view_grid(96), tiles).image
        assert np.isfinite(image).all()
        assert 0.12 < image.mean() < 0.9
        assert image.std() > 0.05


def test_an_unknown_station_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="got station 'liver', expected one of descending_colon"):
        build_scene("liver", seed=0)


def test_tiles_wrap_without_a_seam(tiles: Tiles) -> None:
    tile = tiles["colonic"].astype(np.int16)
    core = tile[TILE_MARGIN:-TILE_MARGIN, TILE_MARGIN:-TILE_MARGIN]
    assert core.shape == (TILE_SIDE, TILE_SIDE, 4)
    across_seam = np.abs(core[:, 0] - core[:, -1]).mean()
    elsewhere = np.abs(core[:, 1:] - core[:, :-1]).mean()
    assert across_seam < 1.5 * elsewhere


def test_vessels_fade_with_the_grade_and_fibrin_and_blood_come_with_ulcers(layers: TissueLayers) -> None:
    grades = [compose_tile(layers, "colonic", grade=grade, seed=1)[..., :3].astype(np.float32) for grade in range(4)]
    on_vessel = np.pad(layers.vessels > 0.5, TILE_MARGIN, mode="wrap")
    contrast = [float(tile[~on_vessel].mean() - tile[on_vessel].mean()) for tile in grades]
    assert contrast[0] > 1.8 * contrast[1] > 3 * abs(contrast[2])
    blood = [float(((tile[..., 0] > 80) & (tile[..., 1] < 40)).mean()) for tile in grades]
    fibrin = [float((tile[..., 1] > 190).mean()) for tile in grades]
    assert blood[0] == blood[1] == 0
    assert blood[3] > blood[2] > 0
    assert fibrin[3] > 3 * fibrin[1]


def test_masks_of_the_three_kinds_of_area_have_their_geometric_size() -> None:
    common = {"center_x": 100.0, "center_y": 80.0, "half_width": 60.0, "half_height": 50.0}
    circle = content_area_mask(ContentArea(kind="circle", corner_cut=0.0, **common), (200, 160))
    octagon = content_area_mask(ContentArea(kind="octagon", corner_cut=20.0, **common), (200, 160))
    rectangle = content_area_mask(ContentArea(kind="rectangle", corner_cut=0.0, **common), (200, 160))
    assert circle.shape == (160, 200)
    assert circle.sum() == pytest.approx(np.pi * 60 * 50, rel=0.01)
    assert octagon.sum() == pytest.approx(120 * 100 - 4 * 20 * 20 / 2, rel=0.01)
    assert rectangle.sum() == 120 * 100


def test_colour_varies_more_between_patients_than_between_stations(tiles: Tiles) -> None:
    """Otherwise a histogram would name the station and nothing would be learnt about structure."""
    grid = view_grid(96)
    means = np.array(
        [
            render_view(scene, Camera(depth=scene.first_depth + 0.5), grid, tiles).image.mean(axis=(0, 1))
            for scene in map(lambda s: build_scene(s, seed=1), STATIONS)
        ]
    )
    processors = [draw_patient(number, seed=0, size=320) for number in range(40)]
    developed = np.array([[means[k] @ each.color_matrix.T * each.exposure for k in range(len(STATIONS))] for each in processors])
    chroma = np.log(np.clip(developed[..., [0, 2]], 1e-3, None)) - np.log(np.clip(developed[..., [1]], 1e-3, None))
    between_patients = chroma.mean(axis=1).std(axis=0)
    between_stations = chroma.mean(axis=0).std(axis=0)
    assert (between_patients > 1.5 * between_stations).all()


def test_patients_of_no_spread_have_one_processor_and_bodies_of_their_own() -> None:
    alike = [draw_patient(number, seed=0, size=320, spread=0.0) for number in range(3)]
    assert all(np.allclose(each.color_matrix, alike[0].color_matrix, atol=1e-6) for each in alike)
    assert {(round(each.gamma, 6), round(each.exposure, 6), round(each.focal, 6)) for each in alike} == {(1.030455, 0.951229, 0.97)}
    own = [draw_patient(number, seed=0, size=320) for number in range(3)]
    assert [(each.seed, each.area, each.name) for each in alike] == [(each.seed, each.area, each.name) for each in own]


def test_rendering_does_not_depend_on_opencv_threads(tiles: Tiles) -> None:
    scene = build_scene("caecum", seed=9)
    before = cv2.getNumThreads()
    images = []
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            images.append(render_view(scene, Camera(depth=2.0), view_grid(160), tiles).image)
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(images[0], images[1])
