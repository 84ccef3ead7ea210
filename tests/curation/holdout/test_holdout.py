from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from curation.filters.phash import hamming
from curation.holdout.list import HoldoutError, HoldoutList, read_holdout
from curation.holdout.names import KnownVideo, NamedVideo, named_videos
from curation.holdout.rows import reasons_by_video
from curation.holdout.search import hash_bytes, in_turns, nearest_by_embedding, nearest_by_hash, nothing_near, retrieval_similarity
from curation.holdout.verify_copy import compare, features_of, flipped, picture_correlation
from curation.holdout.views import shared_areas, view_hash, views_of
from curation.sources.manifest import pseudonym

KEY = b"0123456789abcdef"


def texture(seed: int, height: int = 192, width: int = 256) -> np.ndarray:
    """Blotches and veins at several scales; another scene for another seed."""
    rng = np.random.default_rng(seed)
    gray = np.zeros((height, width))
    for size, weight in ((8, 45), (24, 30), (64, 15)):
        small = rng.standard_normal((size * height // width + 1, size)).astype(np.float32)
        gray += weight * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.stack([150 + gray, 95 + 0.8 * gray, 80 + 0.6 * gray], axis=2), 20, 250).astype(np.uint8)


def save(path: Path, rgb: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return path


def listed(**fields: object) -> HoldoutList:
    empty = {"list_id": "x", "label": "test", "files": (), "video_names": frozenset(), "patients": frozenset(), "unreadable": ()}
    return HoldoutList(**{**empty, **fields})  # type: ignore[arg-type]


def video(video_id: str, uri: str = "file:///archive/a.mp4", patient: str | None = None, *, is_stills: bool = False) -> KnownVideo:
    return KnownVideo(video_id=video_id, uris=(uri,), patient_ids=frozenset([patient] if patient else []), is_stills=is_stills)


def test_a_folder_holds_out_its_pictures_and_videos_without_masks(tmp_path: Path) -> None:
    save(tmp_path / "set/images/1.png", texture(1))
    save(tmp_path / "set/masks/1.png", texture(2))
    (tmp_path / "set/clip.mp4").write_bytes(b"video")
    found = read_holdout([str(tmp_path / "set")], None)
    assert [file.name for file in found.files] == ["set/clip.mp4", "set/images/1.png"]
    assert found.video_names == {"clip.mp4"}
    assert (found.label, found.unreadable) == ("set", ())


def test_a_table_holds_out_what_its_columns_name_and_hides_patients(tmp_path: Path) -> None:
    save(tmp_path / "images/1.png", texture(1))
    (tmp_path / "held.csv").write_text("Path,video,patient,label\n1.png,case7.mp4,Jane Doe,polyp\nmissing.png,,,\n")
    found = read_holdout([str(tmp_path / "held.csv")], KEY)
    assert [file.name for file in found.files] == ["1.png"]
    assert found.video_names == {"case7.mp4"}
    assert found.patients == {pseudonym("Jane Doe", KEY)}
    assert found.unreadable == ("missing.png",)
    with pytest.raises(HoldoutError, match="names patients, and there is no key"):
        read_holdout([str(tmp_path / "held.csv")], None)


def test_the_list_is_named_by_content_and_not_by_place(tmp_path: Path) -> None:
    for place in ("here", "there"):
        save(tmp_path / place / "set/1.png", texture(1))
    here, there = (read_holdout([str(tmp_path / place / "set")], None) for place in ("here", "there"))
    assert here.list_id == there.list_id
    save(tmp_path / "there/set/1.png", texture(2))
    assert read_holdout([str(tmp_path / "there/set")], None).list_id != here.list_id


def test_what_names_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("age\n3\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HoldoutError, match="does not exist"):
        read_holdout([str(tmp_path / "nowhere")], None)
    with pytest.raises(HoldoutError, match="has the columns age; expected one of path"):
        read_holdout([str(tmp_path / "table.csv")], None)
    with pytest.raises(HoldoutError, match="names no picture, video or patient"):
        read_holdout([str(tmp_path / "empty")], None)


@pytest.mark.parametrize(
    ("name", "uri", "is_named"),
    [
        ("case7.mp4", "file:///archive/case7.mp4", True),
        ("Case7", "file:///archive/case7.mp4", True),
        ("case7", "file:///archive/case77.mp4", False),
        ("site-a/video.mp4", "file:///archive/site-a/video.mp4", True),
        ("site-a/video.mp4", "file:///archive/site-b/video.mp4", False),
        ("/moved/since/case7.mp4", "file:///archive/case7.mp4", True),
        ("s3://bucket/case 7.mp4", "file:///archive/case%207.mp4", True),
        ("a" * 64, "file:///archive/renamed.mp4", True),
    ],
)
def test_videos_are_named_by_id_file_name_stem_folders_or_uri(name: str, uri: str, is_named: bool) -> None:
    assert bool(named_videos([video("a" * 64, uri)], listed(video_names=frozenset({name})))) == is_named


def test_a_patient_is_matched_by_pseudonym_and_nothing_of_it_is_said() -> None:
    patient = pseudonym("Jane Doe", KEY)
    found = named_videos([video("a", patient=patient), video("b")], listed(patients=frozenset({patient})))
    assert found == {"a": NamedVideo(kind="patient", reference="test", reference_sha256=None)}


def test_the_scope_says_what_goes_with_a_copy() -> None:
    match = {"match_kind": "embedding", "reference_sha256": "r", "reference": "1.png", "hash_distance": None, "similarity": 0.9}
    copies = [
        {**match, "correlation": correlation, "frame_id": frame_id, "video_id": video_id}
        for frame_id, video_id, correlation in [("a1", "a", 0.5), ("a2", "a", 0.8), ("s1", "s", 0.9)]
    ]
    videos = [video("a", patient="p"), video("b", patient="p"), video("c"), video("s", is_stills=True)]
    assert reasons_by_video(videos, {}, copies, "frame") == {}
    by_video = reasons_by_video(videos, {}, copies, "video")
    assert {key: row["via_frame_id"] for key, row in by_video.items()} == {"a": "a2"}  # the folder of pictures loses its copies only
    by_patient = reasons_by_video(videos, {}, copies, "patient")
    assert {key: row["via_frame_id"] for key, row in by_patient.items()} == {"a": "a2", "b": "a2"}


def test_a_named_video_takes_its_patients_others_along() -> None:
    named = {"a": NamedVideo(kind="video", reference="a.mp4", reference_sha256=None)}
    videos = [video("a", patient="p"), video("b", patient="p"), video("c", patient="q")]
    assert set(reasons_by_video(videos, named, [], "video")) == {"a"}
    found = reasons_by_video(videos, named, [], "patient")
    assert {key: row["match_kind"] for key, row in found.items()} == {"a": "video", "b": "patient"}


@given(seed=st.integers(0, 2**16), block=st.integers(1, 9))
def test_searching_in_blocks_finds_what_searching_at_once_finds(seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    candidates, views = (rng.standard_normal((count, 6)).astype(np.float32) for count in (5, 20))
    near = nothing_near(5, 3)
    bits = nothing_near(5, 3)
    hashes, own = (rng.integers(0, 2**63, count, dtype=np.uint64) for count in (5, 20))
    for first in range(0, 20, block):
        near = nearest_by_embedding(candidates, views[first : first + block], first_view=first, so_far=near)
        bits = nearest_by_hash(hash_bytes(hashes), hash_bytes(own[first : first + block]), first_view=first, so_far=bits)
    cosines = candidates @ views.T
    assert np.array_equal(near.view, np.argsort(-cosines, axis=1)[:, :3])
    distances = np.array([[hamming(int(one), int(other)) for other in own] for one in hashes])
    assert np.array_equal(-bits.value, np.sort(distances, axis=1)[:, :3])


def test_two_searches_are_heard_by_turns() -> None:
    assert in_turns(["a", "b", "a", "c"], ["x", "b", "y", "z"]) == ["a", "x", "b", "c", "y", "z"]
    assert in_turns([], [3, 1, 3]) == [3, 1]


def test_the_similarity_is_what_nearly_all_probes_reach() -> None:
    assert retrieval_similarity([0.0, 1.0]) == pytest.approx(0.005)


def changed(name: str, rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    match name:
        case "jpeg":
            return np.asarray(cv2.imdecode(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR))
        case "half":
            return np.asarray(cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        case "cropped":
            return rgb[height // 5 :, width // 6 :]
        case "bordered":
            return np.asarray(cv2.copyMakeBorder(rgb, 30, 30, 60, 60, cv2.BORDER_CONSTANT))
        case "brighter":
            return np.asarray(cv2.convertScaleAbs(rgb, alpha=1.2, beta=15))
        case "turned":
            return np.asarray(cv2.warpAffine(rgb, cv2.getRotationMatrix2D((width / 2, height / 2), 10, 1), (width, height)))
    raise ValueError(name)


@pytest.mark.parametrize("name", ["jpeg", "half", "cropped", "bordered", "brighter", "turned"])
def test_a_changed_copy_is_told_from_another_scene(name: str) -> None:
    reference = features_of(texture(1))
    assert compare(features_of(changed(name, texture(1))), reference).correlation > 0.6
    assert compare(features_of(changed(name, texture(2))), reference).correlation < 0.3


@pytest.mark.parametrize("code", [1, 0, -1])
def test_features_are_flipped_as_the_picture_is(code: int) -> None:
    copy = changed("turned", np.asarray(cv2.flip(texture(1), code)))
    anew, derived = (
        compare(features_of(copy), reference)
        for reference in (features_of(np.asarray(cv2.flip(texture(1), code))), flipped(features_of(texture(1)), code))
    )
    assert derived.correlation == pytest.approx(anew.correlation, abs=0.02)
    assert derived.num_inliers == pytest.approx(anew.num_inliers, rel=0.2)


def test_features_that_are_kept_compare_as_those_just_made() -> None:
    copy, reference = changed("cropped", texture(1)), texture(1)
    made = compare(features_of(copy), features_of(reference)).correlation
    assert [picture_correlation(reference, copy) for _ in range(2)] == pytest.approx([made, made], abs=1e-3)


def test_each_crop_to_half_of_the_sides_and_less_has_a_view_like_it() -> None:
    # Red tells the column and green the row, so a view's corner says what it shows.
    side = 200
    ramp = np.arange(50, 50 + side, dtype=np.uint8)
    rgb = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:, None], np.uint8(128)), axis=2)
    crops = [(int(view.rgb[0, 0, 0]) - 50, int(view.rgb[0, 0, 1]) - 50, len(view.rgb)) for view in views_of(rgb) if view.name == "crop"]

    def overlap(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
        """Intersection over union of two squares, each its left, top and side."""
        common = [min(a + one[2], b + other[2]) - max(a, b) for a, b in zip(one[:2], other[:2], strict=True)]
        both = max(0, common[0]) * max(0, common[1])
        return both / (one[2] ** 2 + other[2] ** 2 - both)

    for cut in (80, 100):
        places = range(0, side - cut + 1, 10)
        assert min(max(overlap((left, top, cut), crop) for crop in crops) for left in places for top in places) > 0.34


def test_views_hash_as_the_copies_do_that_they_stand_for() -> None:
    rgb = texture(1)
    views = {view.name: view for view in views_of(rgb)}
    assert set(views) == {"content", "mirrored", "upside down", "turned", "crop"}
    assert views["turned"].flip == -1
    assert views["content"].flip is None
    mirrored = views_of(np.ascontiguousarray(rgb[:, ::-1]))[0]
    assert hamming(view_hash(mirrored), view_hash(views["mirrored"])) <= 2
    bordered = views_of(changed("bordered", rgb))
    assert hamming(view_hash(bordered[0]), view_hash(views["content"])) <= 4  # the border was found and cut off
    assert bordered[-1].name == "whole"


def test_a_dull_picture_is_also_seen_in_the_area_that_its_folder_shares() -> None:
    bright = np.zeros((120, 160, 3), np.uint8)
    bright[10:110, 20:140] = texture(1)[:100, :120] // 2 + 60
    dull = bright.copy()
    dull[:, 100:] = 0  # one side of the scene is as black as the border
    areas = shared_areas([bright, dull, bright])
    assert [(view.name, view.rgb.shape) for view in views_of(dull, areas[dull.shape])[-2:]] == [
        ("shared", (100, 120, 3)),
        ("whole", (120, 160, 3)),
    ]
    assert "shared" not in {view.name for view in views_of(bright, areas[bright.shape])}


def test_pictures_that_show_nothing_match_nothing() -> None:
    black = features_of(np.zeros((64, 64, 3), np.uint8))
    assert compare(black, black).correlation == 0
    assert compare(features_of(texture(1)), black).correlation == 0
