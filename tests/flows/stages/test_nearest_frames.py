"""The archive's nearest frames: neither of the video itself nor of what a hold-out leaves out."""

from __future__ import annotations

from pathlib import Path

from curation.embedding import EmbedConfig
from curation.packs import read_frame
from flows.job import Job
from flows.runners import make_runner
from flows.stages import run_embed
from flows.stages.nearest_frames import nearest_frames
from tests.helpers.films import tissue, write_video
from tests.helpers.ingests import ingest
from tests.helpers.rows import sparse_row
from warehouse.lake import Lake, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Artifact


def hold_out(lake: Lake, holdout_id: str, frame_ids: list[str]) -> None:
    with record_run(lake, plan_run(stage="holdout", version=1, config=holdout_id, inputs=[]), RunContext(runner="serial")) as run:
        run.rows("holdout", [sparse_row("holdout", holdout_id=holdout_id, frame_id=found, match_kind="video") for found in frame_ids])
        run.output(Artifact(artifact_id=holdout_id, kind="holdout", uri="tables/main/holdout"))


def test_own_and_held_out_frames_are_no_neighbours(tmp_path: Path) -> None:
    films = [write_video(tmp_path / f"{name}.mp4", [tissue(seed + n) for n in range(3)]) for name, seed in (("a", 0), ("b", 50), ("c", 90))]
    with open_lake(tmp_path / "lake", create=True) as lake:
        ingest(lake, *films)
        run_embed(Job(lake=lake, runner=make_runner("serial", None)), config=EmbedConfig(device="cpu"))
        rows = lake.rows("SELECT frame_id, video_id, pack_path, byte_offset, byte_size FROM candidates ORDER BY frame_id")
        (own, other, third) = sorted({row["video_id"] for row in rows})
        asked = next(row for row in rows if row["video_id"] == own)
        jpeg = read_frame(lake.root / asked["pack_path"], asked["byte_offset"], asked["byte_size"])

        ((nearest, *_),), missing = nearest_frames(lake, [jpeg], number=3, video_id="new")
        assert (nearest.video_id, missing) == (own, "")
        (found,), _ = nearest_frames(lake, [jpeg], number=9, video_id=own)
        assert {each.video_id for each in found} == {other, third}
        hold_out(lake, "one", [row["frame_id"] for row in rows if row["video_id"] == other])
        (found,), _ = nearest_frames(lake, [jpeg], number=9, video_id=own)
        assert {each.video_id for each in found} == {third}
        hold_out(lake, "two", [row["frame_id"] for row in rows if row["video_id"] == third])
        (found,), _ = nearest_frames(lake, [jpeg], number=9, video_id=own)
        assert {each.video_id for each in found} == {other}, "the latest hold-out counts"
