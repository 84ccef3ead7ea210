"""Ingest, embed and curate through the command line: what holds whatever runs them and whenever they are killed."""

import csv
import importlib.util
import os
import platform
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest
import yaml

from flows.cli.cli import main
from tests.flows.conftest import ODD_NAMES, TINY, endoforge, kill_when, succeed
from tests.helpers.lakes import contents, count
from tests.helpers.ray_nodes import foreign_cluster, without_ray
from tests.helpers.warm import warm_commands
from warehouse.lake import open_lake
from warehouse.traces import find_traces, subject_of


def curate_all(archive: Path, lake: Path, runner: str) -> None:
    at = ["--lake", str(lake), "--runner", runner]
    ingest = ["ingest", str(archive), "--fps", "4", "--text", "off", *at]
    done = warm_commands(os.environ, ingest, ["embed", *at], ["curate", "--name", "set", "--size", "25", *at])
    assert [code for code, _, _ in done] == [0, 0, 0], done


@pytest.fixture(scope="module")
def reference(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("reference")
    curate_all(archive, lake, "processes")
    return lake


def test_every_file_is_accounted_for_once_with_its_reason(reference: Path, archive: Path) -> None:
    with open_lake(reference, read_only=True) as lake:
        videos = [row["uri"] for row in lake.rows("SELECT uri FROM videos")]
        rejects = {row["uri"]: row["reason"] for row in lake.rows("SELECT uri, reason FROM rejects")}
    found = sorted(path.as_uri() for path in archive.rglob("*.mp4"))
    assert sorted([*videos, *rejects]) == found
    assert sorted(rejects.values()) == ["duplicate", "empty", "not_a_video", "undecodable"]


def test_frames_are_found_by_reason_and_all_but_private_ones_lie_in_packs(reference: Path) -> None:
    with open_lake(reference, read_only=True) as lake:
        sampled, kept, private, packed = lake.rows(
            """SELECT count(*) AS sampled, count(*) FILTER (keep) AS kept, count(*) FILTER (drop_reason = 'out_of_body') AS private,
                      count(pack_id) AS packed FROM frames"""
        )[0].values()
        assert private > 0
        assert sampled - private == packed
        assert 25 < kept < sampled
        assert lake.rows("SELECT count(*) AS n FROM frames WHERE keep = (drop_reason IS NOT NULL)") == [{"n": 0}]
        assert lake.rows("SELECT count(*) AS n FROM shard_frames") == [{"n": 25}]


def test_a_dataset_is_verified_compared_and_exported(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(reference, lake)
    assert main(["datasets", "--lake", str(lake), "--format", "csv"]) == 0
    assert '"set",' in capsys.readouterr().out
    assert main(["verify", "set", "--lake", str(lake), "--runner", "serial"]) == 0
    assert main(["diff", "set", "set", "--lake", str(lake)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "settings that differ: none" in said
    assert ["all", "0", "0", "25"] in [line.split() for line in said]
    mlcroissant.Dataset(jsonld=str(lake / "shards" / "set" / "croissant.json"))  # raises where it is not valid
    for form in ("hf", "parquet", "imagefolder"):
        assert main(["export", "set", "--lake", str(lake), "--format", form, "--out", str(tmp_path / form), "--runner", "serial"]) == 0
    with open_lake(lake, read_only=True) as opened:
        frame_ids = {row["frame_id"] for row in opened.rows("SELECT frame_id FROM shard_frames")}
        recorded = opened.rows("SELECT what, user, host, path FROM exports ORDER BY exported_at")
        find = "SELECT any_value(video_id) AS one FROM frames JOIN shard_frames USING (frame_id)"
        traces = find_traces(opened, subject_of(opened, [str(opened.rows(find)[0]["one"])]))
    here = {"user": pwd.getpwuid(os.getuid()).pw_name, "host": platform.node()}
    paths = [str(tmp_path / form) for form in ("hf", "parquet", "imagefolder")]
    assert recorded == [{"what": "set", **here, "path": path} for path in paths]
    assert traces.exports == tuple(sorted(paths))
    for form in ("hf", "parquet", "imagefolder"):
        described = mlcroissant.Dataset(jsonld=str(tmp_path / form / "croissant.json"))
        assert {row["frames/frame_id"].decode() for row in described.records("frames")} == frame_ids
    assert all(min(row["frames/image"].size) > 0 for row in described_images(tmp_path / "parquet", "frames"))
    by_folder = described_images(tmp_path / "imagefolder", "images_by_frame")
    assert {Path(row["images_by_frame/frame_id"].decode()).name for row in by_folder} == frame_ids
    table = pq.read_table(tmp_path / "parquet" / "data")
    images = list((tmp_path / "imagefolder").rglob("*.jpg"))
    assert {image["path"]: image["bytes"] for image in table["image"].to_pylist()} == {path.name: path.read_bytes() for path in images}
    said_of = {form: (tmp_path / form / "README.md").read_text() for form in ("hf", "parquet", "imagefolder")}
    assert ["\n- webdataset\n" in said for said in said_of.values()] == [True, False, False]
    assert " Parquet files with the JPEGs" in said_of["parquet"]
    assert "JPEG files in a folder for each cluster" in said_of["imagefolder"]
    capsys.readouterr()
    described = lake / "shards" / "set" / "dataset.json"
    whole = described.read_bytes()
    described.write_bytes(whole.replace(b'"version":', b'"version":1'))
    assert main(["verify", "set", "--lake", str(lake), "--runner", "serial"]) == 1
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [described.name]
    described.write_bytes(whole)
    tar = next((lake / "shards" / "set").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    capsys.readouterr()
    assert main(["verify", "set", "--lake", str(lake), "--runner", "serial"]) == 1
    assert tar.name in capsys.readouterr().out
    assert main(["export", "set", "--lake", str(lake), "--format", "hf", "--out", str(tmp_path / "bad"), "--runner", "serial"]) == 1
    assert not (tmp_path / "bad").exists()
    tar.with_suffix(".parquet").unlink()
    capsys.readouterr()
    assert main(["export", "set", "--lake", str(lake), "--format", "hf", "--out", str(tmp_path / "bad"), "--runner", "serial"]) == 1
    assert f"dataset 'set' lacks 1 of its files, such as {tar.stem}.parquet" in capsys.readouterr().err


def described_images(folder: Path, record_set: str) -> list[dict[str, Any]]:
    return list(mlcroissant.Dataset(jsonld=str(folder / "croissant.json")).records(record_set))


def test_the_card_of_an_imagefolder_names_its_metadata(reference: Path, tmp_path: Path) -> None:
    """What `datasets.load_dataset` goes by: patterns in the front matter, and `file_name` relative to the metadata."""
    out = tmp_path / "out"
    assert main(["export", "set", "--lake", str(reference), "--format", "imagefolder", "--out", str(out), "--runner", "serial"]) == 0
    front = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    patterns = front["configs"][0]["data_files"][0]["path"]
    found = {path.relative_to(out).as_posix() for pattern in patterns for path in out.glob(pattern)}
    with (out / "metadata.csv").open(newline="") as file:
        named = {row["file_name"] for row in csv.DictReader(file)}
    assert found == named | {"metadata.csv"}
    if importlib.util.find_spec("datasets") is None:
        return
    import datasets

    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert {"image", "frame_id", "video_id", "pts_us"} <= set(loaded.column_names)
    assert len(loaded) == len(named)


def test_ingest_again_changes_nothing_and_says_so(reference: Path, archive: Path) -> None:
    before = contents(reference)
    done = succeed("ingest", archive, "--lake", reference, "--fps", "4", "--text", "off")
    assert "7 files, 7 known already (4 of them rejected), 0 ingested, 0 rejected" in done.err
    assert contents(reference) == before


@pytest.mark.slow
def test_ray_gives_the_same_rows_and_bytes_as_processes(
    reference: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with foreign_cluster(2, env=without_ray()) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        curate_all(archive, tmp_path, "ray")
    with open_lake(tmp_path, read_only=True) as opened:
        assert {row["stage"] for row in opened.rows("SELECT stage FROM runs WHERE ray_job_id IS NOT NULL")} >= {"ingest", "embed", "shard"}
    ours, theirs = contents(tmp_path), contents(reference)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.drill)])
def test_kills_during_ingest_and_curation_leave_the_same_lake(whole: bool, reference: Path, archive: Path, tmp_path: Path) -> None:
    ingest = ["ingest", str(archive), "--lake", str(tmp_path), "--fps", "4", "--text", "off"]
    in_ingest = [
        lambda: count(tmp_path / "staging", "*") > 0,
        lambda: count(tmp_path / "frames", "*.tar") >= 2,
        lambda: count(tmp_path / "tables" / "main", "*.parquet") >= 3,  # in the middle of the commit
    ]
    in_curate = [
        lambda: count(tmp_path / "staging", "dedup.parquet") > 0,
        lambda: count(tmp_path / "clusters", "*") > 0,
        lambda: count(tmp_path / "shards", "*.tar") >= 3,
        lambda: count(tmp_path / "shards", "dataset.json") > 0,
    ]
    assert any([kill_when(ingest, moment) for moment in (in_ingest if whole else in_ingest[-1:])])
    succeed(*ingest)
    embed = ["embed", "--lake", str(tmp_path)]
    if whole:
        kill_when(embed, lambda: count(tmp_path / "embeddings", "*.parquet") >= 1)
    succeed(*embed, "--runner", "serial")  # in one process, which loads PyTorch once
    curate = ["curate", "--lake", str(tmp_path), "--name", "set", "--size", "25"]
    assert any([kill_when(curate, moment) for moment in (in_curate if whole else in_curate[-2:-1])])
    succeed(*curate)
    ours, theirs = contents(tmp_path), contents(reference)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_a_manifest_says_whose_a_video_is_and_loses_no_row(archive: Path, tmp_path: Path) -> None:
    first = archive / ODD_NAMES[0]
    copy = tmp_path / "renamed.mp4"
    shutil.copy(first, copy)
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["uri", "patient", "site"], [copy, "DOE JOHN", "Ward 7"], ["gone.mp4", "DOE JANE", ""]])
    command = ("ingest", tmp_path / "list.csv", "--lake", tmp_path / "lake", "--fps", "4", "--text", "off")
    refused = endoforge(*command)
    assert refused.code == 1
    assert "there is no key for their pseudonyms" in refused.err
    for _ in range(2):  # typed again it records nothing new
        done = endoforge(*command, env={"ENDOFORGE_PATIENT_KEY": "a secret of sixteen bytes or more"})
        assert done.code == 0, done.err
        assert "names 2 videos, 1 of them readable" in done.err
    with open_lake(tmp_path / "lake", read_only=True) as lake:
        assert lake.rows("FROM rejects") == []
        assert lake.rows("SELECT uri, reason FROM left_files") == [{"uri": (tmp_path / "gone.mp4").as_uri(), "reason": "missing"}]
        (info,) = lake.rows("SELECT i.* FROM video_info i JOIN current_videos USING (video_id)")
        assert info["site"] == "Ward 7"
        assert len(info["patient_id"]) == 32
        assert lake.rows("SELECT count(*) AS n FROM manifest_videos") == [{"n": 1}]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "lake").rglob("*") if path.is_file())
    assert b"DOE" not in stored
    assert b"a secret of sixteen" not in stored


def in_this_process(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """The exit code, and what was said."""
    capsys.readouterr()
    code = main([*map(str, words), "--runner", "serial"])
    return code, capsys.readouterr().err


def test_a_new_video_is_added_to_what_is_there(reference: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(reference, lake)
    from curation.phantom.phantom import render_video

    render_video(tmp_path / "new.mp4", config=TINY, patient=5)
    code, said = in_this_process(capsys, "ingest", archive, tmp_path / "new.mp4", "--lake", lake, "--fps", "4", "--text", "off")
    assert code == 0
    assert "8 files, 7 known already (4 of them rejected), 1 ingested" in said
    code, said = in_this_process(capsys, "embed", "--lake", lake)
    assert code == 0
    assert "of 1 videos" in said
    code, said = in_this_process(capsys, "curate", "--lake", lake, "--name", "set", "--size", "25")
    assert code == 1
    assert "choose another --name" in said
    code, _ = in_this_process(capsys, "curate", "--lake", lake, "--name", "set-2", "--size", "25")
    assert code == 0


def test_more_images_than_there_are_is_said_and_all_are_taken(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(reference, lake)
    code, said = in_this_process(capsys, "curate", "--lake", lake, "--name", "all", "--size", "100000")
    assert code == 0
    assert "100000 images were asked for" in said
    assert "all are taken" in said


def test_one_command_makes_datasets_within_each_other_under_caps(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(reference, lake)
    rules = ("--within-leaf", "diverse", "--max-per-patient", "9", "--max-per-site", "1", "--weights", "cluster:1/0=2")
    code, said = in_this_process(capsys, "curate", "--lake", lake, "--name", "n", "--size", "20", "--nested", "5", "10", *rules)
    assert code == 0
    assert "so max-per-site does not limit them" in said
    code, _ = in_this_process(capsys, "curate", "--lake", lake, "--name", "later", "--size", "7", *rules)
    assert code == 0
    with open_lake(lake, read_only=True) as opened:
        members = {
            name: {
                row["frame_id"]
                for row in opened.rows("SELECT s.frame_id FROM shard_frames s JOIN datasets d USING (dataset_id) WHERE d.name = $1", [name])
            }
            for name in ("n", "n-10", "n-5", "later")
        }
        (most,) = opened.rows(
            """SELECT max(num) AS num FROM (SELECT count(*) AS num FROM shard_frames s JOIN datasets d USING (dataset_id)
               JOIN frames f USING (frame_id) WHERE d.name = 'n' GROUP BY f.video_id)"""
        )
    assert [len(members[name]) for name in ("n-5", "later", "n-10", "n")] == [5, 7, 10, 20]
    assert members["n-5"] < members["later"] < members["n-10"] < members["n"]
    assert most["num"] <= 9
    code, said = in_this_process(capsys, "curate", "--lake", lake, "--name", "x", "--size", "5", "--weights", "site:Rome=2")
    assert code == 1
    assert "none is known: give a manifest with the column site" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest", "{tmp}/none", "--lake", "{tmp}/lake"), "none"),
        (("ingest", "{tmp}/*.mp4", "--lake", "{tmp}/lake"), "mp4"),
        (("embed", "--lake", "{tmp}/lake"), "there is no lake in"),
        (("run", "{tmp}", "--lake", "{tmp}/lake", "--size", "5", "--recipe", "vitx"), "there is no recipe called 'vitx'"),
        (("curate", "--lake", "{ref}", "--name", "a/b", "--size", "5"), "dataset name 'a/b'"),
        (("pretrain", "--lake", "{ref}", "--dataset", "nix", "--recipe", "smoke"), "there is no dataset 'nix'"),
        (("evaluate", "--lake", "{ref}", "--checkpoint", "nix", "--task", "nix", "--data", "{tmp}"), "unknown task 'nix'"),
        (("embed", "--lake", "{ref}", "--encoder", "vit_small_patch14_dinov2"), "allow-download"),
        (("sql", "--lake", "{ref}", "SELECT * FROM nothing"), "nothing"),
        (("lineage", "--lake", "{ref}", "zzzzzzzzzz"), "nothing in"),
        (("frobnicate",), "there is no command 'frobnicate'"),
    ],
)
def test_bad_input_is_one_sentence_with_an_exit_code(
    arguments: tuple[str, ...], message: str, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(tmp=tmp_path, ref=reference) for word in arguments]) in (1, 2)
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert len([line for line in printed.splitlines() if line.startswith("endoforge: ")]) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system to fill needs root")
def test_a_full_disk_is_named_and_the_next_run_goes_on(archive: Path, tmp_path: Path) -> None:
    lake = tmp_path / "small"
    lake.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(lake)], capture_output=True).returncode:
        pytest.skip("this sandbox does not let root mount a file system")
    try:
        done = endoforge("ingest", str(archive), "--lake", str(lake), "--fps", "4", "--text", "off")
        assert done.code == 1
        assert "disk is full" in done.err or "No space left" in done.err
        subprocess.run(["mount", "-o", "remount,size=100m", str(lake)], check=True)
        succeed("ingest", str(archive), "--lake", str(lake), "--fps", "4", "--text", "off")
        with open_lake(lake, read_only=True) as opened:
            assert opened.rows("SELECT count(*) AS n FROM videos") == [{"n": 3}]
    finally:
        subprocess.run(["umount", str(lake)], check=True)


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "run",
        "ingest",
        "requalify",
        "embed",
        "curate",
        "privacy-audit",
        "remove-out-of-body",
        "pretrain",
        "evaluate",
        "report",
        "sql",
        "lineage",
        "doctor",
    ],
)
def test_every_command_has_help_with_defaults(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert "default" in capsys.readouterr().out
