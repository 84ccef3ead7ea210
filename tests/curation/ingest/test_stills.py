import io
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.ingest.still_damage import damage_in
from curation.packs.pack import iter_pack
from curation.sources.discover import find_videos
from curation.sources.identity import identify
from tests.helpers.films import octagon, room
from tests.helpers.stills import still
from warehouse.records import IngestedVideo, Left, VideoRef


def found(path: Path) -> VideoRef:
    (video,) = find_videos([str(path)])
    result = identify(video)
    assert not isinstance(result, Left)
    return result


def ingest(path: Path, lake: Path, config: IngestConfig | None = None) -> IngestedVideo:
    return ingest_video(found(path), lake_root=str(lake), config=config or IngestConfig())


def rows(lake: Path, result: IngestedVideo) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(lake / str(result.frames_part)).to_pylist()
    return found


def test_a_folder_is_one_video_in_natural_order_a_second_an_image(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    for number in (10, 9, 1, 2):
        still(number).save(folder / f"Image {number}.png")
    video = found(folder)
    assert [Path(image).name for image in video.images] == ["Image 1.png", "Image 2.png", "Image 9.png", "Image 10.png"]
    assert video.num_bytes == sum(path.stat().st_size for path in folder.iterdir())
    result = ingest(folder, tmp_path / "lake")
    assert result.video is not None
    assert (result.video.status, result.video.codec, result.video.container, result.video.decoder) == ("ok", "png", "stills", "Pillow")
    assert (result.video.num_frames_declared, result.video.num_frames_sampled, result.video.num_frames_kept) == (4, 4, 4)
    assert (result.video.uri, result.video.content_area) == (folder.as_uri(), "polygon")
    assert [(row["frame_index"], row["pts_us"]) for row in rows(tmp_path / "lake", result)] == [(n, n * 1_000_000) for n in range(4)]
    pictures = kept(tmp_path / "lake", result)
    assert max(difference(picture, still(number)) for number, picture in zip((1, 2, 9, 10), pictures, strict=True)) < 4


def kept(lake: Path, result: IngestedVideo) -> list[Image.Image]:
    assert result.pack is not None
    return [Image.open(io.BytesIO(jpeg)).convert("RGB") for _, jpeg in iter_pack(lake / result.pack.path)]


def difference(picture: Image.Image, original: Image.Image) -> float:
    """Mean of a stored frame against the middle of its original, away from the border."""
    left, top = (original.width - picture.width) // 2, (original.height - picture.height) // 2
    truth = np.asarray(original.crop((left, top, left + picture.width, top + picture.height))).astype(int)
    return float(np.abs(truth - np.asarray(picture))[40:-40, 40:-40].mean())


def test_the_id_follows_from_the_contents_in_order_alone(tmp_path: Path) -> None:
    for folder, names in (("a", "12"), ("b", "67"), ("c", "21")):
        (tmp_path / folder).mkdir()
        for seed, name in enumerate(names):
            still(seed).save(tmp_path / folder / f"{name}.bmp")
    ids = [found(tmp_path / folder).video_id for folder in "abc"]
    assert ids[0] == ids[1] != ids[2]


def test_images_and_videos_of_one_folder_and_single_images_are_all_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.mp4", "2.JPG", "1.tiff", "deep/only.webp", "deep/.thumb.png"):
        (tmp_path / name).touch()
    videos = find_videos([str(tmp_path)])
    assert [(video.path, len(video.images)) for video in videos] == [
        (str(tmp_path), 2),
        (str(tmp_path / "b.mp4"), 0),
        (str(tmp_path / "deep/only.webp"), 1),
    ]
    assert [video.images for video in find_videos([str(tmp_path / "2.JPG")])] == [(str(tmp_path / "2.JPG"),)]


def test_each_size_has_its_content_area_and_no_image_is_scaled_to_another(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    for number, (width, height) in enumerate([(256, 192), (512, 384), (256, 192), (320, 240), (512, 384)]):
        still(number, width=width, height=height).save(folder / f"{number}.png")
    result = ingest(folder, tmp_path / "lake")
    assert result.video is not None
    assert (result.video.width, result.video.height, result.video.num_frames_kept) == (256, 192, 5)
    widths = [int(str(row["crop_width"])) for row in rows(tmp_path / "lake", result)]
    assert widths == [pytest.approx(width, rel=0.02) for width in (220, 440, 220, 275, 440)]


def test_a_damaged_image_is_named_by_its_number_and_costs_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "DOE JANE"
    folder.mkdir()
    for number in range(6):
        still(number).save(folder / f"DOE {number}.jpg")
    whole = (folder / "DOE 2.jpg").read_bytes()
    (folder / "DOE 2.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "DOE 4.jpg").write_text("no image")
    result = ingest(folder, tmp_path / "lake")
    assert result.video is not None
    assert result.video.status == "partial"
    assert str(result.video.warning).startswith(
        "2 of 6 images cannot be read or are damaged (the table damaged_images names them all): image 3: "
    )
    assert "image 5: no image" in str(result.video.warning)
    assert "DOE" not in str(result.video.warning)
    assert [row["frame_index"] for row in rows(tmp_path / "lake", result)] == [0, 1, 3, 5]


def test_a_folder_without_a_readable_image_is_a_reject(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case/a.jpg").write_text("no image")
    (tmp_path / "case/b.png").touch()
    reject = ingest(tmp_path / "case", tmp_path / "lake").reject
    assert reject is not None
    assert (reject.reason, reject.uri) == ("undecodable", (tmp_path / "case").as_uri())
    assert "2 of 2 images cannot be read or are damaged" in reject.detail


def test_an_image_beyond_the_limit_is_not_decoded(tmp_path: Path) -> None:
    Image.new("L", (3000, 2000)).save(tmp_path / "a.png")
    reject = ingest(tmp_path / "a.png", tmp_path / "lake", IngestConfig(max_pixels=5_999_999)).reject
    assert reject is not None
    assert "3000x2000 exceeds max_pixels=5999999" in reject.detail


def test_orientation_is_applied_and_the_rest_of_exif_goes_nowhere(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    exif[0x010E] = "DOE JANE 1961-03-04"
    exif[0x0132] = "1961:03:04 10:00:00"
    upright = still(3)
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert b"DOE JANE" in (tmp_path / "a.jpg").read_bytes()
    result = ingest(tmp_path / "a.jpg", tmp_path / "lake")
    assert result.video is not None
    assert (result.video.width, result.video.height) == (256, 192)
    assert not [path for path in (tmp_path / "lake").rglob("*") if path.is_file() and b"1961" in path.read_bytes()]
    (picture,) = kept(tmp_path / "lake", result)
    assert difference(picture, upright) < 4


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_every_usual_kind_of_pixel_is_read(mode: str, tmp_path: Path) -> None:
    picture = still(5)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) << 8)
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.tif")
    result = ingest(tmp_path / "a.tif", tmp_path / "lake", IngestConfig(max_out_of_body=1))
    (row,) = rows(tmp_path / "lake", result)
    assert 60 < float(str(row["luma"])) < 160


def test_pages_are_images(tmp_path: Path) -> None:
    still(0).save(tmp_path / "a.tif", save_all=True, append_images=[still(1), still(2, width=128, height=96)])
    result = ingest(tmp_path / "a.tif", tmp_path / "lake")
    assert result.video is not None
    assert [row["pts_us"] for row in rows(tmp_path / "lake", result)] == [0, 1_000_000, 2_000_000]
    assert result.video.num_frames_kept == 3


def test_nothing_is_taken_for_frozen_or_smoothed_over_its_neighbours(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    for number in range(9):
        picture = Image.fromarray((room(1).clip(0, 255) * octagon()[..., None]).astype(np.uint8)) if number == 4 else still(number)
        picture.save(folder / f"{number}.png")
    still(8).save(folder / "9.png")
    result = ingest(folder, tmp_path / "lake")
    assert [row["drop_reason"] for row in rows(tmp_path / "lake", result)].count("out_of_body") == 1
    assert [row["drop_reason"] for row in rows(tmp_path / "lake", result)][4] == "out_of_body"
    assert [row["drop_reason"] for row in rows(tmp_path / "lake", result)][8:] == [None, "near_duplicate"]
    assert {row["motion"] for row in rows(tmp_path / "lake", result)} == {None}


def test_text_is_looked_for_in_every_image_and_blacked_out_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    for number in range(3):
        picture = np.asarray(still(number, width=512, height=384)).copy()
        if number == 1:
            cv2.putText(picture, "DOE JANE", (160, 200), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2)
        Image.fromarray(picture).save(folder / f"{number}.png")
    result = ingest(folder, tmp_path / "lake")
    with_text = [json.loads(str(row["text_boxes"])) for row in rows(tmp_path / "lake", result)]
    assert [len(boxes) for boxes in with_text] == [0, 1, 0]
    x, y, width, height = with_text[1][0]
    dark = [np.asarray(picture)[y + 2 : y + height - 2, x + 2 : x + width - 2].max() < 40 for picture in kept(tmp_path / "lake", result)]
    assert dark == [False, True, False]


def with_flipped_bits(content: bytes, seed: int, num_bits: int = 20) -> bytes:
    rng = np.random.default_rng(seed)
    damaged = bytearray(content)
    for place, bit in zip(rng.integers(700, len(content), num_bits), rng.integers(0, 8, num_bits), strict=True):
        damaged[place] ^= 1 << bit
    return bytes(damaged)


@pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 75, "progressive": True}, {"quality": 95, "subsampling": 0}])
def test_most_torn_jpegs_are_told_and_no_sound_one(options: dict[str, int], tmp_path: Path) -> None:
    num_found = 0
    for seed in range(20):
        file = io.BytesIO()
        still(seed).save(file, "JPEG", **options)
        assert damage_in(file.getvalue()) is None
        damaged = with_flipped_bits(file.getvalue(), seed)
        try:
            Image.open(io.BytesIO(damaged)).load()
            num_found += damage_in(damaged) is not None
        except OSError:
            num_found += 1
    assert num_found >= 14


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printed_jpegs_are_sound(mode: str) -> None:
    file = io.BytesIO()
    still(1).convert(mode).save(file, "JPEG")
    assert damage_in(file.getvalue()) is None
    assert damage_in(file.getvalue()[:-200]) is not None


def test_a_wrong_check_sum_and_a_missing_end_of_a_png_are_told() -> None:
    file = io.BytesIO()
    still(1).save(file, "PNG")
    content = file.getvalue()
    assert damage_in(content) is None
    assert "check sum" in str(damage_in(content[:200] + bytes([content[200] ^ 1]) + content[201:]))
    assert damage_in(content[:-12]) == "the end of the file is missing"


def test_every_damaged_image_is_named_by_its_place_and_is_no_kept_frame(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    for number in range(14):
        still(number).save(folder / f"DOE {number:02d}.jpg", quality=90)
    for number in range(2, 14):
        path = folder / f"DOE {number:02d}.jpg"
        path.write_bytes(path.read_bytes()[:-900] + b"\xff\xd9")  # the last rows are missing
    result = ingest(folder, tmp_path / "lake")
    assert result.video is not None
    assert [image.uri for image in result.damaged_images] == [(folder / f"DOE {number:02d}.jpg").as_uri() for number in range(2, 14)]
    assert all(image.detail for image in result.damaged_images)
    assert str(result.video.warning).startswith("12 of 14 images cannot be read or are damaged")
    assert [row["drop_reason"] for row in rows(tmp_path / "lake", result)] == [None, None, *["corrupt"] * 12]
    assert ingest(folder, tmp_path / "lake").damaged_images == result.damaged_images


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_is_refused_as_one(suffix: str, tmp_path: Path) -> None:
    still(0).save(tmp_path / f"a.{suffix}", save_all=True, append_images=[still(1), still(2)], duration=100)
    reject = ingest(tmp_path / f"a.{suffix}", tmp_path / "lake").reject
    assert reject is not None
    assert reject.reason == "not_a_video"
    assert "animation" in reject.detail
