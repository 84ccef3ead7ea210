"""What select-for-labels takes from the lake: its latest hold-out, and patients that share a content as one group."""

from pathlib import Path

import pytest

from flows.config import RunConfig
from flows.job import Job
from flows.runners import make_runner
from flows.stages import LabelRequest, run_select_for_labels
from tests.flows.stages.test_select_for_labels import fill, rows_of
from tests.helpers.growth_lake import ENCODER_ID, make_lake
from warehouse.holdout import known_videos_state
from warehouse.labelling import candidate_frames
from warehouse.lake import Lake, LakeError
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.queries import candidates_state
from warehouse.records import Artifact


def hold_out(lake: Lake, frame_ids: list[str], **changed: str) -> None:
    told = {"encoder_id": ENCODER_ID, "candidates": candidates_state(lake, ENCODER_ID), "videos": known_videos_state(lake)} | changed
    listed = Artifact(artifact_id="list", kind="holdout_list", uri="test set")
    with record_run(lake, plan_run(stage="holdout", version=1, config=told, inputs=[listed]), RunContext(runner="serial")) as run:
        run.output(Artifact(artifact_id=f"found {len(frame_ids)}", kind="holdout", uri="tables/main/holdout", num_rows=len(frame_ids)))
        empty = {
            "correlation": None,
            "hash_distance": None,
            "reference": "x",
            "reference_sha256": None,
            "similarity": None,
            "via_frame_id": None,
        }
        run.rows("holdout", [{"holdout_id": f"found {len(frame_ids)}", "frame_id": one, "match_kind": "x", **empty} for one in frame_ids])


def state(lake: Lake, patients: dict[str, list[str]]) -> None:
    empty = dict.fromkeys(("site", "device", "procedure", "date", "study_id"))
    with record_run(lake, plan_run(stage="manifest", version=1, config=patients, inputs=[]), RunContext(runner="serial")) as run:
        rows = [(video_id, one) for video_id, ones in patients.items() for one in ones]
        run.rows(
            "manifest_videos",
            [
                {"video_id": video_id, "uri": f"file:///{video_id}-{one}", "manifest_sha256": one, "patient_id": one, **empty}
                for video_id, one in rows
            ],
        )


def test_the_latest_hold_out_holds_and_groups_follow_all_patients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with make_lake(tmp_path / "lake", num_frames=1060, dim=4) as lake:
        videos = [row["video_id"] for row in lake.rows("SELECT video_id, count(*) AS n FROM candidates GROUP BY ALL ORDER BY n DESC, 1")]
        job, config = Job(lake=lake, runner=make_runner("serial", None)), RunConfig(lake=lake.root)

        def select(size: int, *given: Path) -> Path:
            request = LabelRequest(size=size, given=given)
            return run_select_for_labels(job, encoder_id=ENCODER_ID, config=config, request=request, out=None)

        held = [row["frame_id"] for row in lake.rows("SELECT frame_id FROM candidates WHERE video_id = $1", videos[:1])]
        hold_out(lake, held)
        first = select(10)
        assert {row["video_id"] for row in rows_of(first)} == {videos[1]}
        assert "latest hold-out stays held out: test set, 1000 frames" in capsys.readouterr().err

        given = fill(first, {0: "polyp", 1: "normal"})
        alone = select(0, given)
        state(lake, {videos[0]: ["b", "a"], "seen by a manifest alone": ["b", "c"], videos[1]: ["d", "c"]})
        one_of_each = [held[0], rows_of(first)[0]["frame_id"]]
        assert {frame.group for frame in candidate_frames(lake, one_of_each).values()} == {"a"}
        together = select(0, given)
        assert together != alone
        assert {row["group"] for row in rows_of(together)} == {"a"}

        hold_out(lake, held[:1], encoder_id="another")
        with pytest.raises(LakeError, match=r"1060 frames .* may have come after its latest hold-out .* give the same --holdout again"):
            select(10)
