"""Changing one's mind without decoding: what requalification decides is what a fresh ingest at the same thresholds would have decided."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from curation.config import CurateConfig
from curation.dedup.config import DedupConfig
from curation.embedding.config import EmbedConfig
from curation.filters.thresholds import FrameThresholds
from curation.ingest.config import IngestConfig, RequalifyConfig
from curation.ingest.device_config import DeviceConfig, requalify_config as by_device
from curation.packs.pack import iter_pack
from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video
from flows.job import Job
from flows.runners.runners import make_runner
from flows.stages.curate import run_curate
from flows.stages.embed import run_embed
from flows.stages.ingest import run_ingest
from flows.stages.requalify import run_requalify
from warehouse.ancestry import lineage
from warehouse.dataset_queries import dataset_named
from warehouse.lake import open_lake

PHANTOM = PhantomConfig(num_train_videos=3, num_eval_patients=4, seconds=8, fps=8, size=128, seed=3)
NAMES = tuple(field.name for field in dataclasses.fields(FrameThresholds))
TIGHTER = FrameThresholds(min_blur=40, max_specular_share=0.005, max_bubble_share=0.1, max_stool_share=0.02, max_hash_distance=10)
LOOSER = FrameThresholds(min_blur=0, min_luma=0, max_dark_share=1, max_bright_share=1, max_luma=255, freeze_motion=0, max_hash_distance=2)
ODD = FrameThresholds(min_blur=60, max_out_of_body=0.1, freeze_motion=3, max_hash_distance=4, max_luma=120)
DIMMER = FrameThresholds(max_luma=110, min_blur=25)


@contextmanager
def job_in(lake: Path) -> Iterator[Job]:
    with open_lake(lake, create=True) as opened:
        yield Job(lake=opened, runner=make_runner("serial"))


def ingest_config(thresholds: FrameThresholds, **changes: object) -> IngestConfig:
    values = {name: getattr(thresholds, name) for name in NAMES}
    return IngestConfig(fps=4, text="off", **values, **changes)  # type: ignore[arg-type]  # fields of several types, by name


def requalify_config(thresholds: FrameThresholds, **changes: object) -> RequalifyConfig:
    return RequalifyConfig(**{name: getattr(thresholds, name) for name in NAMES}, **changes)  # type: ignore[arg-type]


def verdicts(job: Job) -> dict[tuple[str, int], str | None]:
    rows = job.lake.rows("SELECT video_id, pts_us, keep, drop_reason FROM current_frames")
    assert all(row["keep"] == (row["drop_reason"] is None) for row in rows)
    return {(row["video_id"], row["pts_us"]): row["drop_reason"] for row in rows}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for patient in (2, 5, 6):
        render_video(folder / f"{patient}.mp4", config=PHANTOM, patient=patient)
    return folder


@pytest.fixture(scope="module")
def ingested(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("ingested")
    with job_in(lake) as job:
        run_ingest(job, [str(archive)], config=ingest_config(FrameThresholds()))
    return lake


@pytest.fixture
def lake(ingested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ingested, tmp_path / "lake"))


def test_the_thresholds_of_ingest_change_nothing(lake: Path) -> None:
    with job_in(lake) as job:
        before = verdicts(job)
        run_requalify(job, config=RequalifyConfig())
        assert verdicts(job) == before
        assert job.lake.rows("FROM requalified") == []
        assert not list((lake / "staging" / "requalify").iterdir())


@pytest.mark.parametrize("thresholds", [TIGHTER, LOOSER, ODD, DIMMER], ids=["tighter", "looser", "odd", "dimmer"])
def test_requalified_frames_are_those_of_a_fresh_ingest(thresholds: FrameThresholds, lake: Path, archive: Path, tmp_path: Path) -> None:
    with job_in(tmp_path / "fresh") as job:
        run_ingest(job, [str(archive)], config=ingest_config(thresholds))
        expected = verdicts(job)
    with job_in(lake) as job:
        before = verdicts(job)
        run_requalify(job, config=requalify_config(thresholds))
        found = verdicts(job)
        gone = {frame for frame, reason in before.items() if reason == "out_of_body"}
        assert {frame: reason for frame, reason in found.items() if frame not in gone} == {
            frame: reason for frame, reason in expected.items() if frame not in gone
        }
        assert all(found[frame] == "out_of_body" for frame in gone)
        assert found != before
        # every frame that is kept now has its picture where the view says
        for row in job.lake.rows("SELECT pack_path, list(frame_id) AS ids FROM candidates GROUP BY pack_path"):
            assert set(row["ids"]) <= {frame_id for frame_id, _ in iter_pack(lake / row["pack_path"])}
        assert len(job.lake.rows("FROM candidates")) == sum(reason is None for reason in found.values())


def test_the_latest_counts_and_going_back_is_going_back(lake: Path) -> None:
    with job_in(lake) as job:
        before = verdicts(job)
        first = run_requalify(job, config=requalify_config(TIGHTER))
        tight = verdicts(job)
        assert run_requalify(job, config=requalify_config(TIGHTER)) == first  # nothing to do
        second = run_requalify(job, config=RequalifyConfig())
        assert verdicts(job) == before
        third = run_requalify(job, config=requalify_config(TIGHTER))
        assert verdicts(job) == tight
        assert len({first, second, third}) == 3
        funnel = {row["reason"]: row["num_frames"] for row in job.lake.rows("SELECT reason, num_frames FROM funnel WHERE step = 'dropped'")}
        assert funnel == {reason: list(tight.values()).count(reason) for reason in set(tight.values()) if reason}
        (kept,) = job.lake.rows("SELECT sum(num_frames_kept)::BIGINT AS kept FROM per_video")
        assert kept["kept"] == list(tight.values()).count(None)


def test_what_is_privately_dropped_stays_dropped_and_what_was_not_stored_is_said(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with job_in(tmp_path) as job:
        run_ingest(job, [str(archive)], config=ingest_config(TIGHTER, store_dropped=False))
        before = verdicts(job)
        run_requalify(job, config=requalify_config(dataclasses.replace(LOOSER, max_out_of_body=1)))
        found = verdicts(job)
        (run,) = job.lake.rows("SELECT (metrics ->> 'num_not_stored')::INT AS num FROM runs WHERE stage = 'requalify'")
    assert run["num"] == list(found.values()).count("not_stored") > 0
    assert f"{run['num']} frames would be kept, but their pictures were not stored: they need decoding" in capsys.readouterr().err
    assert all(found[frame] == "out_of_body" for frame, reason in before.items() if reason == "out_of_body")
    assert {frame for frame, reason in found.items() if reason is None} <= {frame for frame, reason in before.items() if reason is None}


def test_a_devices_percentile_drops_its_blurriest_frames_and_no_others(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    percentile = {"blur_percentile": 20, "blur_cap": 1e6, "min_device_frames": 5}
    with job_in(lake) as job:
        before = verdicts(job)
        run_requalify(job, config=RequalifyConfig(**percentile))  # type: ignore[arg-type]
        tight = verdicts(job)
        usable = [reason for reason in before.values() if reason in (None, "near_duplicate", "frozen")]
        newly = [frame for frame, reason in tight.items() if reason == "blurred" and before[frame] != "blurred"]
        assert 0.1 * len(usable) <= len(newly) <= 0.2 * len(usable)
        devices = [row["device"] for row in job.lake.rows("SELECT DISTINCT device FROM requalified")]
        assert all(device.split("x")[0].isdigit() for device in devices)
        assert f"{len(devices)} devices have thresholds of their own" in capsys.readouterr().err
        run_requalify(job, config=RequalifyConfig(**{**percentile, "blur_cap": 8.0}))  # type: ignore[arg-type]  # never above the cap
        assert verdicts(job) == before
        run_requalify(job, config=RequalifyConfig(**{**percentile, "min_device_frames": 1000}))  # type: ignore[arg-type]  # too few to say
        assert verdicts(job) == before


def test_frames_without_a_hash_are_like_no_other(lake: Path) -> None:
    with job_in(lake) as job:
        run_requalify(job, config=requalify_config(dataclasses.replace(LOOSER, max_hash_distance=64, freeze_motion=1)))
        assert {"near_duplicate", "frozen"} <= set(verdicts(job).values())
        job.lake.query("UPDATE frames SET phash = NULL WHERE frame_index % 3 = 0")
        run_requalify(job, config=requalify_config(dataclasses.replace(LOOSER, max_hash_distance=63, freeze_motion=1)))
        unhashed = {
            row["reason"]
            for row in job.lake.rows(
                """SELECT DISTINCT c.drop_reason AS reason FROM current_frames c JOIN frames f USING (frame_id) WHERE f.phash IS NULL"""
            )
        }
        assert None in unhashed
        assert not unhashed & {"near_duplicate", "frozen"}
        assert "near_duplicate" in verdicts(job).values()


def test_devices_only_tighten_what_ingest_was_given() -> None:
    assert by_device(DeviceConfig(min_device_frames=5), IngestConfig(min_blur=20)) is None
    found = by_device(DeviceConfig(blur_percentile=5), IngestConfig(min_blur=20, max_luma=150, fps=4))
    assert found == RequalifyConfig(min_blur=20, max_luma=150, blur_percentile=5)
    with pytest.raises(ValueError, match=r"blur_percentile=101 is outside 0-100"):
        DeviceConfig(blur_percentile=101)


def test_curation_follows_what_is_kept_now(lake: Path) -> None:
    with job_in(lake) as job:
        encoder_id = run_embed(job, config=EmbedConfig(image_size=64))
        embedded = {row["pack_id"] for row in job.lake.rows("SELECT pack_id FROM embeddings")}
        assert embedded == {row["pack_id"] for row in job.lake.rows("SELECT DISTINCT pack_id FROM frames WHERE keep")}  # no spare pack
        config = CurateConfig(size=10_000, dedup=DedupConfig(dedup_threshold=0.9999))
        first = run_curate(job, name="first", encoder_id=encoder_id, config=config)

        run_requalify(job, config=requalify_config(LOOSER))
        run_embed(job, config=EmbedConfig(image_size=64))
        more = run_curate(job, name="more", encoder_id=encoder_id, config=config)
        back = members(job, "more") - members(job, "first")
        assert more.num_images > first.num_images
        spare = {row["frame_id"] for row in job.lake.rows("SELECT frame_id FROM frames WHERE NOT keep AND pack_id IS NOT NULL")}
        assert back
        assert back <= spare

        run_requalify(job, config=requalify_config(DIMMER))
        run_curate(job, name="fewer", encoder_id=encoder_id, config=config)
        assert members(job, "fewer") <= {row["frame_id"] for row in job.lake.rows("SELECT frame_id FROM candidates")}
        assert len(members(job, "fewer")) < len(members(job, "first"))

        run_requalify(job, config=RequalifyConfig())
        again = run_curate(job, name="again", encoder_id=encoder_id, config=config)
        assert members(job, "again") == members(job, "first")
        assert again.selection_id == first.selection_id
        assert dataset_named(job.lake, "again") == again  # the same content under another name, and its own shards alone
        larger = run_curate(job, name="larger", encoder_id=encoder_id, config=dataclasses.replace(config, size=20_000))
        assert larger.num_images == first.num_images  # the same selection by another way is the same rows, once
        for table in ("dedup", "clusters", "selections", "shard_frames"):
            assert job.lake.query(f"FROM {table}").num_rows == job.lake.query(f"SELECT DISTINCT * FROM {table}").num_rows

        frame = sorted(back)[0]
        label = lineage(job.lake, frame)[0].label
        assert ", dropped: " in label
        run_requalify(job, config=requalify_config(LOOSER))
        assert lineage(job.lake, frame)[0].label.endswith(", since then kept)")
        origin, _ = lineage(job.lake, more.dataset_id)
        assert "requalification" in str(origin)


def members(job: Job, name: str) -> set[str]:
    rows = job.lake.rows("SELECT s.frame_id FROM shard_frames s JOIN datasets d USING (dataset_id) WHERE d.name = $1", [name])
    return {row["frame_id"] for row in rows}
