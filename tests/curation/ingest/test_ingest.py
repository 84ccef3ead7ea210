import io
import os
import pickle
import resource
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curation.embedding.batches import whole_packs
from curation.embedding.config import EmbedConfig
from curation.embedding.embed import embed_images, embed_packs
from curation.embedding.encoder import load_encoder
from curation.embedding.vectors import read_part
from curation.ingest.config import IngestConfig
from curation.ingest.ingest import INGEST_VERSION, ingest_key, ingest_video, reject_for_failure
from curation.packs.pack import iter_pack, read_frame
from curation.sources.discover import find_videos, hash_video
from tests.helpers.films import room, tissue, write_video
from warehouse.records import IngestedVideo, Left, VideoRef
from warehouse.schema import TABLES


def scripted_film() -> list[np.ndarray]:
    """One picture a second: what each is for stands in EXPECTED."""
    sharp = tissue(20)
    soft = np.stack([cv2.GaussianBlur(channel, (0, 0), 1.2) for channel in np.moveaxis(sharp, 2, 0)], axis=2)
    return [
        room(0),
        room(1),
        room(2),
        *(tissue(seed) for seed in range(8)),
        tissue(8, contrast=0.03),
        tissue(9) * 0.06,
        np.array([225, 205, 150]) + 0.1 * tissue(10),
        soft,
        sharp,
        tissue(12),
        tissue(12),
        tissue(12),
        tissue(13),
        tissue(14),
    ]


EXPECTED = [
    *["out_of_body"] * 3,
    *[None] * 8,
    "blurred",
    "too_dark",
    "too_bright",
    "near_duplicate",
    None,
    None,
    "frozen",
    "frozen",
    None,
    None,
]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "a.mp4", scripted_film(), title="DOE JOHN 1961-03-04")


def ingest(path: Path, lake: Path, config: IngestConfig | None = None) -> IngestedVideo:
    return ingest_video(hash_video(str(path)), lake_root=str(lake), config=config or IngestConfig(text="off"))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become a user who may read less")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ward 7" / "secret").mkdir(parents=True, mode=0o755)
    tmp_path.chmod(0o755)
    (tmp_path / "ward 7" / "secret").chmod(0o700)
    monkeypatch.chdir(tmp_path)  # pytest's own folders above are closed to others as well
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match=r"folder 'ward 7/secret' cannot be listed \(Permission denied\); grant read access"):
            find_videos(["ward 7"])
    finally:
        os.seteuid(0)


def test_every_sample_gets_a_row_and_the_reason_it_was_dropped_for(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path)
    assert result.reject is None
    assert result.frames_part is not None
    table = pq.read_table(tmp_path / result.frames_part)
    assert table.schema == TABLES["frames"]
    rows = table.to_pylist()
    assert [row["drop_reason"] for row in rows] == EXPECTED
    assert [row["pts_us"] for row in rows] == [second * 1_000_000 for second in range(len(EXPECTED))]
    assert [row["keep"] for row in rows] == [reason is None for reason in EXPECTED]
    assert all((row["byte_offset"] is None) == (row["drop_reason"] == "out_of_body") == (row["sha256"] is None) for row in rows)
    assert all("." not in row["frame_id"] and row["frame_id"].endswith(f"-{row['pts_us']:011d}") for row in rows)
    assert (rows[0]["motion"], rows[0]["decoder"]) == (None, "PyAV")


def test_the_video_row_counts_what_the_frame_rows_hold(film: Path, tmp_path: Path) -> None:
    video = ingest(film, tmp_path).video
    assert video is not None
    assert (video.num_frames_declared, video.num_frames_decoded, video.num_frames_sampled) == (len(EXPECTED),) * 3
    assert video.num_frames_kept == EXPECTED.count(None)
    assert (video.status, video.warning, video.content_area, video.codec) == ("ok", None, "polygon", "h264")
    assert video.uri == film.as_uri()


def test_the_pack_holds_the_kept_frames_where_their_rows_say(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path)
    assert result.pack is not None
    assert result.frames_part is not None
    kept = [row for row in pq.read_table(tmp_path / result.frames_part).to_pylist() if row["keep"]]
    pack = tmp_path / result.pack.path
    assert [(row["frame_id"], read_frame(pack, row["byte_offset"], row["byte_size"])) for row in kept] == list(iter_pack(pack))
    assert (result.pack.num_frames, result.pack.num_bytes) == (len(kept), pack.stat().st_size)
    for row in kept:
        assert Image.open(io.BytesIO(read_frame(pack, row["byte_offset"], row["byte_size"]))).size == (row["width"], row["height"])
        assert row["pack_id"] == result.pack.pack_id


def test_dropped_frames_lie_in_the_spare_pack_or_the_private_one(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path)
    assert result.spare is not None
    assert result.pack is not None
    rows = pq.read_table(tmp_path / str(result.frames_part)).to_pylist()
    spared = [row for row in rows if row["pack_id"] == result.spare.pack_id]
    assert [row["drop_reason"] for row in spared] == [reason for reason in EXPECTED if reason not in (None, "out_of_body")]
    pack = tmp_path / result.spare.path
    assert pack.name == f"{result.spare.video_id}.spare.tar"
    assert [(row["frame_id"], read_frame(pack, row["byte_offset"], row["byte_size"])) for row in spared] == list(iter_pack(pack))
    outside = {row["frame_id"] for row in rows if row["drop_reason"] == "out_of_body"}
    packs = {path: {frame_id for frame_id, _ in iter_pack(path)} for path in tmp_path.rglob("*.tar")}
    assert result.private is not None
    assert packs.pop(tmp_path / result.private.path) == outside
    assert not outside & set().union(*packs.values())


def test_dropped_pictures_are_stored_only_on_request(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path, IngestConfig(store_dropped=False, store_private=False))
    assert result.spare is None
    rows = pq.read_table(tmp_path / str(result.frames_part)).to_pylist()
    assert all((row["pack_id"] is not None) == row["keep"] for row in rows)
    assert len(list(tmp_path.rglob("*.tar"))) == 1


def test_text_outside_the_area_reaches_neither_pack_nor_previews(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path)
    assert result.pack is not None
    assert result.frames_part is not None
    rows = {row["frame_id"]: row for row in pq.read_table(tmp_path / result.frames_part).to_pylist()}
    first = next(iter(rows.values()))
    # the text begins inside the crop, so that cutting alone would not remove it
    assert first["crop_x"] < 30
    assert first["crop_y"] < 12
    for frame_id, jpeg in iter_pack(tmp_path / result.pack.path):
        picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        corner = picture[: 16 - rows[frame_id]["crop_y"], : 44 - rows[frame_id]["crop_x"]]
        assert corner.size
        assert corner.max() < 40  # the white text would be 255; what is left is the JPEG's ringing at the outline


def test_the_encoder_sees_the_content_area_alone(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path, IngestConfig(max_side=0))
    assert result.pack is not None
    rows = {row["frame_id"]: row for row in pq.read_table(tmp_path / str(result.frames_part)).to_pylist()}
    config = EmbedConfig(batch_size=4, device="cpu")
    (part,) = embed_packs(whole_packs([result.pack]), lake_root=str(tmp_path), config=config)
    ids, vectors = read_part(tmp_path / part.path, part.dim)
    row, encoder = rows[ids[0]], load_encoder(config)
    with av.open(str(film)) as container:
        picture = list(container.decode(video=0))[list(rows).index(ids[0])].to_ndarray(format="rgb24")
    y, x, height, width = row["crop_y"], row["crop_x"], row["crop_height"], row["crop_width"]
    assert (width, height) < picture.shape[1::-1]
    views = [picture[y : y + height, x : x + width], picture]
    encoded = [cv2.imencode(".png", np.ascontiguousarray(view[..., ::-1]))[1].tobytes() for view in views]
    area, whole = embed_images(iter(encoded), encoder, batch_size=4).astype(np.float32) @ vectors[0].astype(np.float32)
    assert area > 0.95  # JPEG, and the corner outside the outline
    assert whole < area - 0.01


def test_container_metadata_never_reaches_the_lake(film: Path, tmp_path: Path) -> None:
    assert b"1961" in film.read_bytes()
    ingest(film, tmp_path)
    assert not any(b"1961" in content for content in tree(tmp_path).values())


def test_previews_are_few_small_and_pixelated_where_people_could_be_seen(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path)
    assert result.previews_part is not None
    table = pq.read_table(tmp_path / result.previews_part)
    assert table.schema == TABLES["previews"]
    by_reason: dict[str, int] = {}
    for row in table.to_pylist():
        by_reason[row["drop_reason"]] = by_reason.get(row["drop_reason"], 0) + 1
        picture = Image.open(io.BytesIO(row["jpeg"])).convert("RGB")
        assert picture.width == 160
        if row["drop_reason"] == "out_of_body":
            tiles = np.asarray(picture.resize((12, 10), Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)).astype(int)
            assert np.abs(tiles - np.asarray(picture)).mean() < 8
    assert by_reason == {"blurred": 1, "frozen": 2, "near_duplicate": 1, "out_of_body": 3, "too_bright": 1, "too_dark": 1}


def test_a_run_of_near_duplicates_keeps_its_sharpest(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path)
    assert result.frames_part is not None
    rows = pq.read_table(tmp_path / result.frames_part).to_pylist()
    soft, sharp = rows[14], rows[15]
    assert soft["blur"] < sharp["blur"]
    assert (soft["drop_reason"], sharp["drop_reason"]) == ("near_duplicate", None)


def test_the_same_input_gives_the_same_bytes(film: Path, tmp_path: Path) -> None:
    assert ingest(film, tmp_path / "a") == ingest(film, tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_rerun_returns_the_record_and_touches_nothing(film: Path, tmp_path: Path) -> None:
    first = ingest(film, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert ingest(film, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times


def test_a_moved_file_is_recognised_and_recorded_under_its_new_name(film: Path, tmp_path: Path) -> None:
    first = ingest(film, tmp_path / "lake")
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(film.read_bytes())
    second = ingest(moved, tmp_path / "lake")
    assert second.pack == first.pack
    assert second.video is not None
    assert second.video.uri == moved.as_uri()


@pytest.mark.parametrize("lost", ["pack", "spare", "frames", "previews", "evidence"])
def test_a_lost_or_cut_file_is_made_again(film: Path, tmp_path: Path, lost: str) -> None:
    first = ingest(film, tmp_path)
    before = tree(tmp_path)
    assert first.pack is not None
    assert first.spare is not None
    name = {"frames": first.frames_part, "previews": first.previews_part}.get(lost)
    if lost in ("pack", "spare"):
        (tmp_path / (first.pack if lost == "pack" else first.spare).path).write_bytes(b"cut")
    elif lost == "evidence":
        next(tmp_path.rglob("*.json")).unlink()
    else:
        (tmp_path / str(name)).unlink()
    assert ingest(film, tmp_path) == first
    assert tree(tmp_path) == before


def test_both_decoders_keep_the_same_frames(film: Path, tmp_path: Path) -> None:
    results = [ingest(film, tmp_path, IngestConfig(decoder=decoder)) for decoder in ("decord", "pyav")]
    parts = [pq.read_table(tmp_path / str(result.frames_part)).to_pylist() for result in results]
    assert [[row["drop_reason"] for row in rows] for rows in parts] == [EXPECTED, EXPECTED]


def test_settings_that_change_results_change_the_key_and_limits_do_not() -> None:
    key = ingest_key(IngestConfig())
    assert ingest_key(IngestConfig(timeout_s=5, max_memory_mb=1000, max_frames=100, retry_failed=True)) == key
    assert ingest_key(IngestConfig(min_blur=9)) != key
    assert ingest_key(IngestConfig(fps=2)) != key
    assert INGEST_VERSION >= 1


def test_no_side_is_longer_than_max_side_and_zero_never_scales(film: Path, tmp_path: Path) -> None:
    for max_side, width in ((64, 64), (0, 220)):
        result = ingest(film, tmp_path, IngestConfig(max_side=max_side))
        rows = [row for row in pq.read_table(tmp_path / str(result.frames_part)).to_pylist() if row["keep"]]
        assert all(abs(row["width"] - width) <= 3 and abs(row["crop_width"] - 220) <= 3 for row in rows)
        assert rows


def test_what_is_no_video_becomes_a_reject_with_its_reason(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    files = {"empty": tmp_path / "empty.mp4", "not_a_video": tmp_path / "text.mp4"}
    files["empty"].touch()
    files["not_a_video"].write_text("hello " * 100)
    for reason, path in files.items():
        result = ingest(path, lake)
        assert result.video is None
        assert result.reject is not None
        assert (result.reject.reason, result.reject.uri, result.reject.num_bytes) == (reason, path.as_uri(), path.stat().st_size)
        assert result.reject.detail
        assert ingest(path, lake) == result
    missing = ingest(tmp_path / "gone.mp4", lake)
    assert (missing.reject, missing.left) == (None, Left(reason="missing", detail="No such file or directory"))


def test_pictures_beyond_the_limit_are_rejected_before_decoding(film: Path, tmp_path: Path) -> None:
    reject = ingest(film, tmp_path, IngestConfig(max_pixels=1000)).reject
    assert reject is not None
    assert reject.reason == "too_large"
    assert "256x192" in reject.detail


def test_a_damaged_video_is_partial_and_its_damaged_frames_are_dropped(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [tissue(seed) for seed in range(40)], fps=4)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    start, size = packets[12]
    assert start is not None
    content[start : start + size] = bytes(size)
    path.write_bytes(bytes(content))
    result = ingest(path, tmp_path / "lake", IngestConfig(fps=4, text="off"))
    assert result.video is not None
    assert (result.video.status, result.video.decoder) == ("partial", "PyAV")
    assert result.video.warning
    rows = pq.read_table(tmp_path / "lake" / str(result.frames_part)).to_pylist()
    reasons = {row["pts_us"] // 250_000: row["drop_reason"] for row in rows}
    assert {number for number, reason in reasons.items() if reason == "corrupt"} >= set(range(13, 20))
    assert all(reasons[number] is None for number in (*range(12), *range(20, 40)))


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_ends_in_a_record_and_never_in_an_exception(film: Path, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(film.read_bytes())
    kind = seed % 3
    if kind == 0:
        for position in rng.integers(0, len(content), 30):
            content[position] = rng.integers(0, 256)
    elif kind == 1:
        content = content[: int(rng.integers(1, len(content)))]
    else:
        first, second = sorted(int(value) for value in rng.integers(0, len(content), 2))
        content[first:second] = rng.bytes((second - first) // 2)
    path = tmp_path / "a.mp4"
    path.write_bytes(bytes(content))
    # the first of each kind with the search for text, which takes most of the time
    result = ingest(path, tmp_path / "lake", IngestConfig(fps=2) if seed < 3 else IngestConfig(fps=2, text="off"))
    assert (result.video is None) != (result.reject is None)
    if result.reject is not None:
        assert result.reject.reason in ("not_a_video", "undecodable", "no_video_stream", "too_large")
        assert result.reject.detail


def test_a_crash_or_timeout_is_recorded_by_the_driver() -> None:
    video = VideoRef(video_id="ab" * 32, path="/videos/a b.mp4", num_bytes=7)
    reject = reject_for_failure(video, "timeout", "no result after 5 s", IngestConfig()).reject
    assert reject is not None
    assert (reject.reason, reject.uri, reject.video_id, reject.num_bytes) == ("timeout", "file:///videos/a%20b.mp4", "ab" * 32, 7)


def test_results_can_be_pickled(film: Path, tmp_path: Path) -> None:
    result = ingest(film, tmp_path)
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - our own bytes


def test_a_lake_that_cannot_be_written_is_an_error_and_not_a_reject(film: Path, tmp_path: Path) -> None:
    (tmp_path / "staging").write_text("in the way")
    with pytest.raises(OSError, match="staging"):
        ingest(film, tmp_path)


def test_find_videos_walks_folders_without_hidden_and_sidecar_files(tmp_path: Path) -> None:
    wanted = ["a.mp4", "deep/er/b b.mkv", "deep/unknown.bin", "größe\n'x'.avi"]
    for name in [*wanted, ".hidden.mp4", ".git/c.mp4", "a.truth.parquet", "notes.txt", "list.CSV", "a.json"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def found(*inputs: Path) -> list[str]:
        return [video.path for video in find_videos([str(path) for path in inputs])]

    assert found(tmp_path) == sorted(str(tmp_path / name) for name in wanted)
    assert found(tmp_path / "notes.txt", tmp_path / "*.mp4", tmp_path / "a.mp4") == [str(tmp_path / "a.mp4"), str(tmp_path / "notes.txt")]
    assert found(tmp_path / "**" / "*.mkv") == [str(tmp_path / "deep/er/b b.mkv")]


def test_find_videos_says_in_one_sentence_what_is_missing(tmp_path: Path) -> None:
    for inputs in ([str(tmp_path)], [str(tmp_path / "gone.mp4")], [str(tmp_path / "*.mp4")], []):
        with pytest.raises(FileNotFoundError) as caught:
            find_videos(inputs)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0)
    with pytest.raises(PermissionError, match="locked"):
        find_videos([str(tmp_path)])


@pytest.mark.parametrize("lost", ["evidence", "frames"])
def test_a_video_whose_staged_files_a_power_cut_emptied_is_ingested_again(lost: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [tissue(seed) for seed in range(3)], fps=1)
    first = ingest(path, tmp_path / "lake", IngestConfig(text="off"))
    assert first.frames_part is not None
    part = tmp_path / "lake" / first.frames_part
    (part if lost == "frames" else part.with_name(part.name.replace(".frames.parquet", ".json"))).write_bytes(b"")
    assert ingest(path, tmp_path / "lake", IngestConfig(text="off")) == first
    assert part.stat().st_size > 0


def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path: Path) -> None:
    pictures = [tissue(seed) for seed in range(10)]
    short = write_video(tmp_path / "short.mp4", pictures * 10, fps=10)
    long = write_video(tmp_path / "long.mp4", pictures * 200, fps=10)
    config = IngestConfig(fps=5, text="off", decoder="pyav")  # decord queues the more frames, the busier the machine is
    ingest(short, tmp_path / "lake", config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ingest(long, tmp_path / "lake", config)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 75  # the 1,000 samples alone would be 147 MB
