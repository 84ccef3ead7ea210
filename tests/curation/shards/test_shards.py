import hashlib
import io
import json
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from curation.packs.pack import write_pack
from curation.shards.dataset_folder import finish_dataset, read_sums
from curation.shards.plan import MEMBER_SCHEMA, Reencode, Remainder, ShardPlan, plan_shards
from curation.shards.shard_check import ShardCheck, verify_shard
from curation.shards.verify_folder import folder_problems
from curation.shards.write import sidecar_name, write_shard
from warehouse.records import Dataset, Shard

SELECTION = "5" * 64


def jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32 + value, 24), (value * 5 % 256, 100, 50)).save(buffer, "JPEG")
    return buffer.getvalue()


def lake_with_frames(root: Path, num_videos: int = 3, frames_per_video: int = 7) -> pa.Table:
    rows = []
    for video in range(num_videos):
        video_id = f"{video}" * 64
        path = Path("frames") / f"a video, größer {video}.tar"
        written = write_pack(root / path, [(f"{video}f{frame}", jpeg(video * 10 + frame)) for frame in range(frames_per_video)])
        for frame, entry in enumerate(written.entries):
            rows.append(
                {
                    "frame_id": entry.frame_id,
                    "video_id": video_id,
                    "pack_path": path.as_posix(),
                    "byte_offset": entry.byte_offset,
                    "byte_size": entry.byte_size,
                    "pts_us": frame * 1_000_000,
                    "crop_x": 1,
                    "crop_y": 2,
                    "crop_width": 30,
                    "crop_height": 20,
                    "width": 32 + video * 10 + frame,
                    "height": 24,
                    "cluster_path": [frame, 0],
                }
            )
    return pa.Table.from_pylist(rows, schema=MEMBER_SCHEMA)


def make(root: Path, members: pa.Table, *, name: str = "colon", per_shard: int = 6, seed: int = 0) -> tuple[Dataset, list[Shard]]:
    plans = plan_shards(members, name=name, images_per_shard=per_shard, min_shards=2, seed=seed, lake_root=str(root))
    shards = [write_shard(plan, lake_root=str(root)) for plan in plans]
    return finish_dataset(plans, shards, selection_id=SELECTION, lake_root=str(root)), shards


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_plain_webdataset_reads_every_frame_as_it_was(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path)
    dataset, _ = make(tmp_path, members)
    urls = sorted(str(path) for path in (tmp_path / dataset.path).glob("*.tar"))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("jpg", "json"))
    expected = {row["frame_id"]: row for row in members.to_pylist()}
    assert len(samples) == dataset.num_images == len(expected) == 21
    for image, metadata in samples:
        row = expected.pop(metadata["frame_id"])
        assert image.size == (row["width"], row["height"])
        assert metadata == {
            "frame_id": row["frame_id"],
            "video_id": row["video_id"],
            "pts_us": row["pts_us"],
            "crop": [1, 2, 30, 20],
            "width": row["width"],
            "height": 24,
            "cluster_path": row["cluster_path"],
        }
    assert not expected


def test_jpegs_are_copied_byte_for_byte_and_the_sample_table_finds_them(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path)
    dataset, _ = make(tmp_path, members)
    samples = pq.read_table(tmp_path / dataset.path / "samples.parquet").to_pylist()
    assert [sample["position"] for sample in samples] == list(range(21))
    assert [sample["shard"] for sample in samples] == sorted(sample["shard"] for sample in samples)
    sources = {row["frame_id"]: row for row in members.to_pylist()}
    for sample in samples:
        source = sources[sample["frame_id"]]
        original = (tmp_path / source["pack_path"]).read_bytes()[source["byte_offset"] :][: source["byte_size"]]
        tar = (tmp_path / dataset.path / sample["shard"]).read_bytes()
        assert tar[sample["byte_offset"] :][: sample["byte_size"]] == original
        assert sample["video_id"] == source["video_id"]


def test_a_tar_has_the_bytes_that_the_standard_library_writes(tmp_path: Path) -> None:
    _, shards = make(tmp_path, lake_with_frames(tmp_path))
    for shard in shards:
        ours, theirs = (tmp_path / shard.path).read_bytes(), io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(ours)) as read, tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as written:
            for member in read:
                plain = tarfile.TarInfo(member.name)
                plain.size = member.size
                written.addfile(plain, read.extractfile(member))
        assert theirs.getvalue() == ours


def test_a_tar_names_no_person_time_or_path(tmp_path: Path) -> None:
    dataset, shards = make(tmp_path, lake_with_frames(tmp_path))
    for shard in shards:
        with tarfile.open(tmp_path / shard.path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (0, 0, 0, "", "", 0o644)
        data = (tmp_path / shard.path).read_bytes()
        assert b"gr\xc3\xb6\xc3\x9fer" not in data
        assert b"frames/" not in data
        assert data[257:263] == b"ustar\0"
        assert len(data) % tarfile.RECORDSIZE == 0
    assert dataset.num_images == sum(shard.num_images for shard in shards)


def test_shards_hold_as_many_images_as_each_other_and_a_mix_of_videos(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path, num_videos=4, frames_per_video=25)
    _, shards = make(tmp_path, members, per_shard=30)
    assert [shard.num_images for shard in shards] == [25, 25, 25, 25]
    assert [shard.name for shard in shards] == [f"colon-{index:06d}.tar" for index in range(4)]
    for shard in shards:
        videos = {name[0] for name in tarfile.open(tmp_path / shard.path).getnames()}
        assert len(videos) == 4


def test_hashes_and_counts_are_written_beside_the_tars(tmp_path: Path) -> None:
    dataset, shards = make(tmp_path, lake_with_frames(tmp_path))
    described = json.loads((tmp_path / dataset.path / "dataset.json").read_bytes())
    index = json.loads((tmp_path / dataset.path / "index.json").read_bytes())
    for shard, entry, indexed in zip(shards, described["shards"], index["shardlist"], strict=True):
        data = (tmp_path / shard.path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == shard.sha256 == entry["sha256"]
        assert indexed == {"url": shard.name, "nsamples": shard.num_images, "filesize": len(data)}
    assert described["dataset_id"] == dataset.dataset_id == hashlib.sha256("".join(s.sha256 for s in shards).encode()).hexdigest()
    assert (described["name"], described["num_images"], described["selection_id"]) == ("colon", 21, SELECTION)


def test_bytes_follow_from_the_frames_and_the_seed_alone(tmp_path: Path) -> None:
    folders = []
    for copy, reverse in (("first", False), ("second", True)):
        root = tmp_path / copy
        members = lake_with_frames(root)
        if reverse:
            members = members.take(np.arange(members.num_rows)[::-1])
        dataset, _ = make(root, members)
        folders.append(contents(root / dataset.path))
    assert folders[0] == folders[1]
    other, _ = make(tmp_path / "first", lake_with_frames(tmp_path / "first"), name="other", seed=1)
    shuffled = [row["frame_id"] for row in pq.read_table(tmp_path / "first" / other.path / "samples.parquet").to_pylist()]
    assert shuffled != pq.read_table(io.BytesIO(folders[0]["samples.parquet"]))["frame_id"].to_pylist()


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path)
    dataset, _ = make(tmp_path, members)
    tars = list((tmp_path / dataset.path).glob("*.tar"))
    before = {tar: tar.stat().st_mtime_ns for tar in tars}
    again, _ = make(tmp_path, members)
    assert again == dataset
    assert {tar: tar.stat().st_mtime_ns for tar in tars} == before


@pytest.mark.parametrize("lost", ["colon-000001.tar", "colon-000002.parquet", "SHA256SUMS", "samples.parquet", "dataset.json"])
def test_an_interrupted_run_is_completed_with_the_same_bytes(tmp_path: Path, lost: str) -> None:
    members = lake_with_frames(tmp_path)
    dataset, _ = make(tmp_path, members)
    folder = tmp_path / dataset.path
    whole = contents(folder)
    (folder / lost).unlink()
    (folder / "dataset.json").unlink(missing_ok=True)
    make(tmp_path, members)
    assert contents(folder) == whole


def test_a_shard_cut_short_is_written_again(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path)
    _, shards = make(tmp_path, members)
    whole = (tmp_path / shards[0].path).read_bytes()
    os.truncate(tmp_path / shards[0].path, 1000)
    make(tmp_path, members)
    assert (tmp_path / shards[0].path).read_bytes() == whole


def test_a_name_taken_by_other_content_is_refused_before_any_work(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path)
    dataset, _ = make(tmp_path, members)
    before = contents(tmp_path / dataset.path)
    with pytest.raises(ValueError, match=r"dataset name 'colon' is taken by a dataset with other content.*choose another --name"):
        make(tmp_path, members.slice(1))
    with pytest.raises(ValueError, match="choose another --name"):
        make(tmp_path, members, seed=1)
    assert contents(tmp_path / dataset.path) == before


def test_an_unfinished_dataset_gives_way_to_another_plan(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path)
    make(tmp_path, members, per_shard=3)
    (tmp_path / "shards/colon/dataset.json").unlink()
    dataset, shards = make(tmp_path, members, per_shard=11)
    assert sorted(path.name for path in (tmp_path / dataset.path).glob("*.tar")) == [shard.name for shard in shards]
    samples = list(webdataset.WebDataset([str(tmp_path / shard.path) for shard in shards], shardshuffle=False))
    assert len(samples) == 21


def test_a_pack_that_changed_is_noticed(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path)
    plans = plan_shards(members, name="colon", images_per_shard=50, min_shards=1, seed=0, lake_root=str(tmp_path))
    pack = tmp_path / members["pack_path"][0].as_py()
    pack.write_bytes(bytes(pack.stat().st_size))
    with pytest.raises(ValueError, match=r"holds no JPEG of \d+ bytes at byte \d+ for frame .* ingest its video again"):
        write_shard(plans[0], lake_root=str(tmp_path))
    assert not list(tmp_path.glob("shards/**/*.tar"))
    pack.unlink()
    with pytest.raises(FileNotFoundError):
        write_shard(plans[0], lake_root=str(tmp_path))


def changed(members: pa.Table, column: str, value: Any) -> pa.Table:
    rows = members.to_pylist()
    rows[0][column] = value
    return pa.Table.from_pylist(rows, schema=MEMBER_SCHEMA)


def test_members_that_cannot_be_a_dataset_are_refused(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path, num_videos=1, frames_per_video=2)
    for bad, message in [
        (members.slice(0, 0), "would hold no frame"),
        (changed(members, "frame_id", members["frame_id"][1].as_py()), "1 frames come twice"),
        (changed(members, "frame_id", "a.b"), "frame id 'a.b' cannot name a tar member"),
        (changed(members, "frame_id", "../a"), "cannot name a tar member"),
    ]:
        with pytest.raises(ValueError, match=message):
            make(tmp_path, bad)
    for name in ("", "../up", "a b", ".hidden", "x" * 81):
        with pytest.raises(ValueError, match="cannot be part of a file name"):
            make(tmp_path, members, name=name)


def test_finishing_needs_every_shard(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path)
    plans = plan_shards(members, name="colon", images_per_shard=6, min_shards=2, seed=0, lake_root=str(tmp_path))
    shards = [write_shard(plan, lake_root=str(tmp_path)) for plan in plans]
    with pytest.raises(ValueError, match="4 planned shards and 3 written ones"):
        finish_dataset(plans, shards[:-1], selection_id=SELECTION, lake_root=str(tmp_path))
    with pytest.raises(ValueError, match="another order"):
        finish_dataset(plans, shards[::-1], selection_id=SELECTION, lake_root=str(tmp_path))


def test_few_images_make_few_shards(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path, num_videos=1, frames_per_video=3)
    plans = plan_shards(members, name="colon", images_per_shard=1000, min_shards=8, seed=0, lake_root=str(tmp_path))
    assert [plan.num_images for plan in plans] == [1, 1, 1]
    assert isinstance(plans[0], ShardPlan)
    assert len({replace(plan, shard="", members_path="", first_position=0) for plan in plans}) == 1


@pytest.mark.parametrize(
    ("remainder", "sizes", "num_different"), [("spread", [6, 5, 5, 5], 21), ("top", [6, 6, 6, 6], 21), ("drop", [5, 5, 5, 5], 20)]
)
def test_what_does_not_come_out_even(tmp_path: Path, remainder: Remainder, sizes: list[int], num_different: int) -> None:
    members, root = lake_with_frames(tmp_path), str(tmp_path)
    plans = plan_shards(members, name="colon", images_per_shard=6, min_shards=2, seed=0, lake_root=root, remainder=remainder)
    dataset = finish_dataset(plans, [write_shard(plan, lake_root=root) for plan in plans], selection_id=SELECTION, lake_root=root)
    assert [shard.num_images for shard in dataset.shards] == sizes
    samples = pq.read_table(tmp_path / dataset.path / "samples.parquet").to_pylist()
    assert [sample["position"] for sample in samples] == list(range(sum(sizes)))
    assert len({sample["frame_id"] for sample in samples}) == num_different
    assert len({(sample["shard"], sample["frame_id"]) for sample in samples}) == len(samples)


def test_large_images_are_made_smaller_and_their_json_says_so(tmp_path: Path) -> None:
    members, root = lake_with_frames(tmp_path), str(tmp_path)
    smaller = Reencode(max_side=40, quality=80)
    (plan,) = plan_shards(members, name="s", images_per_shard=50, min_shards=1, seed=0, lake_root=root, reencode=smaller)
    shard = write_shard(plan, lake_root=root)
    widths = {row["frame_id"]: row["width"] for row in members.to_pylist()}
    for sample in webdataset.WebDataset(str(tmp_path / shard.path), shardshuffle=False).decode("pil"):
        said, image = sample["json"], sample["jpg"]
        width = widths[said["frame_id"]]
        assert image.size == (said["width"], said["height"]) == (min(width, 40), round(24 * min(1, 40 / width)))
        assert said.get("original_size") == ([width, 24] if width > 40 else None)


def test_sums_are_those_that_sha256sum_takes(tmp_path: Path) -> None:
    dataset, shards = make(tmp_path, lake_with_frames(tmp_path))
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / dataset.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert len(done.stdout.splitlines()) == 2 * len(shards) + 3


def changed_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_verifying_names_each_changed_file_of_the_folder(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path, lake_with_frames(tmp_path))
    folder = tmp_path / dataset.path
    whole = contents(folder)
    assert folder_problems(folder, dataset) == []
    for name in sorted(
        whole.keys() - {"SHA256SUMS"} - {name for shard in dataset.shards for name in (shard.name, sidecar_name(shard.name))}
    ):
        for spoiled in (whole[name].replace(b'"', b"'", 1), b"", None):
            if spoiled is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(spoiled + b" ")
            assert {problem.split(":")[0] for problem in folder_problems(folder, dataset)} == {name}
            (folder / name).write_bytes(whole[name])
    for key, value in {"dataset_id": "0" * 64, "num_images": 20, "plan_id": "1" * 64, "shards": [], "note": "x", "version": 7}.items():
        changed_json(folder / "dataset.json", **{key: value})
        (problem,) = folder_problems(folder, dataset)
        assert problem.startswith("dataset.json: ")
        assert key in problem or str(value) in problem
        (folder / "dataset.json").write_bytes(whole["dataset.json"])
    (folder / "SHA256SUMS").write_bytes(whole["SHA256SUMS"].replace(b"index.json", b"other.json"))
    assert [problem.split(":")[0] for problem in folder_problems(folder, dataset)] == ["index.json", "other.json"]
    (folder / "SHA256SUMS").write_bytes(whole["SHA256SUMS"])
    (folder / "notes.txt").write_text("")
    assert folder_problems(folder, dataset) == ["notes.txt: does not belong to the dataset"]


@pytest.mark.parametrize("left", [b"", b'{"shar', b"\0" * 300, b"{}"])
def test_evidence_that_a_power_cut_spoiled_is_written_again(tmp_path: Path, left: bytes) -> None:
    members = lake_with_frames(tmp_path)
    dataset, _ = make(tmp_path, members)
    whole = contents(tmp_path / dataset.path)
    (evidence,) = tmp_path.glob("staging/shards/*/colon-000001.tar.json")
    evidence.write_bytes(left)
    (tmp_path / dataset.path / "dataset.json").unlink()
    make(tmp_path, members)
    assert contents(tmp_path / dataset.path) == whole


def test_a_shard_of_many_packs_and_more_than_is_laid_out_at_once(tmp_path: Path) -> None:
    members = lake_with_frames(tmp_path, num_videos=1, frames_per_video=1)
    rng = np.random.default_rng(0)
    images = {f"v{video}": b"\xff\xd8" + rng.bytes(size) for video, size in enumerate([7_000_000, 40_000_000, *[600] * 140])}
    rows = []
    for name, image in images.items():
        (entry,) = write_pack(tmp_path / f"frames/{name}.tar", [(name, image)]).entries
        place = {"pack_path": f"frames/{name}.tar", "byte_offset": entry.byte_offset, "byte_size": entry.byte_size}
        rows.append({**members.to_pylist()[0], "frame_id": name, **place})
    dataset, _ = make(tmp_path, pa.Table.from_pylist(rows, schema=MEMBER_SCHEMA), per_shard=71)
    found: dict[str, bytes] = {}
    for tar in dataset.shards:
        data = (tmp_path / tar.path).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (tar.sha256, tar.num_bytes)
        with tarfile.open(tmp_path / tar.path) as opened:
            found |= {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]  # all are files
    assert {name: found[f"{name}.jpg"] for name in images} == images
    assert {json.loads(found[f"{name}.json"])["frame_id"] for name in images} == set(images)


def test_verifying_names_what_is_wrong(tmp_path: Path) -> None:
    dataset, shards = make(tmp_path, lake_with_frames(tmp_path))
    folder = tmp_path / dataset.path
    tar = folder / "colon-000000.tar"
    whole = tar.read_bytes()
    table = pq.read_table(folder / "colon-000000.parquet")
    rows = table.to_pylist()
    digests = [hashlib.sha256(whole[row["byte_offset"] :][: row["byte_size"]]).hexdigest() for row in rows]
    pq.write_table(table.append_column("sha256", pa.array(digests)), tmp_path / "wanted.parquet")
    check = ShardCheck(
        shard=tar.name,
        folder=str(folder),
        num_bytes=shards[0].num_bytes,
        sha256=shards[0].sha256,
        sidecar_sha256=read_sums(folder)["colon-000000.parquet"],
        expected=str(tmp_path / "wanted.parquet"),
    )
    assert verify_shard(check) == ()
    broken = bytearray(whole)
    broken[rows[2]["byte_offset"] + 30] ^= 1
    tar.write_bytes(broken)
    hash_problem, member_problem = verify_shard(check)
    assert "its SHA-256 is" in hash_problem
    name = f"{rows[2]['frame_id']}.jpg"
    assert member_problem == f"colon-000000.tar: member {name} is not the frame that the lake knows: its bytes were changed"
    broken = bytearray(whole)
    broken[whole.index(b'"crop":[1,', rows[3]["byte_offset"]) + 8] = ord("9")
    tar.write_bytes(broken)
    text = f"{rows[3]['frame_id']}.json"
    said = f"colon-000000.tar: member {text} is not what the sidecar says of the frame: its bytes were changed"
    assert verify_shard(check)[1:] == (said,)
    tar.write_bytes(whole[:-1] + b"x")
    assert "no member differs" in verify_shard(check)[1]
    start = rows[2]["byte_offset"] - 512
    tar.write_bytes(whole[:start] + whole[start + 512 + -(-rows[2]["byte_size"] // 512) * 512 :])
    assert f"colon-000000.tar: member {name} is missing" in verify_shard(check)
    tar.unlink()
    assert verify_shard(check) == ("colon-000000.tar: the file is missing",)
