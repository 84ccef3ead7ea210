"""Rounds of labelling on a lake of made-up frames: what is chosen, what is left as it is, and what never appears."""

import csv
import os
from pathlib import Path

import pytest

from curation.labelling import GivenLabels
from flows.config import RunConfig
from flows.job import Job
from flows.runners import make_runner
from flows.stages import LabelRequest, run_select_for_labels
from flows.stages.label_folder import write_evaluation_set
from tests.helpers.growth_lake import ENCODER_ID, make_lake
from warehouse.lake import Lake, LakeError
from warehouse.lineage import RunContext, plan_run, record_run


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def fill(folder: Path, labels: dict[int, str]) -> Path:
    """Write labels by position into the table, as a person does."""
    rows = rows_of(folder)
    for position, label in labels.items():
        rows[position]["label"] = label
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "labels.csv"


def remove(lake: Lake, frame_ids: list[str]) -> None:
    with record_run(lake, plan_run(stage="removal", version=1, config={}, inputs=[]), RunContext(runner="serial")) as run:
        run.rows("removals", [{"frame_id": found, "reason": "identified_in_audit", "source": "test"} for found in frame_ids])


def test_rounds_of_labelling(tmp_path: Path) -> None:
    with make_lake(tmp_path / "lake", num_frames=400, dim=8) as lake:
        job = Job(lake=lake, runner=make_runner("serial", None))
        config = RunConfig(lake=lake.root)

        def select(size: int, *given: Path, out: str | None = None, cap: int | None = None) -> Path:
            request = LabelRequest(size=size, given=given, classes=(), max_per_patient=cap)
            return run_select_for_labels(job, encoder_id=ENCODER_ID, config=config, request=request, out=tmp_path / out if out else None)

        first = select(12)
        assert first.parent == lake.root / "labels"
        assert sorted(path.name for path in first.iterdir()) == [
            "cvat", "images", "label_studio", "labels.csv", "selection.json", "sheet.html",
        ]  # fmt: skip
        rows = rows_of(first)
        assert len({row["frame_id"] for row in rows}) == 12
        assert all((first / row["path"]).read_bytes().startswith(b"\xff\xd8") for row in rows)
        assert {row["reason"] for row in rows} == {"typical"}
        page = (first / "sheet.html").read_text()
        assert page.count("data:image/jpeg") == 12
        assert str(tmp_path) not in page
        (selection,) = lake.rows("SELECT * FROM runs WHERE stage = 'select_for_labels'")
        stored = lake.rows(
            """SELECT s.frame_id FROM selections s JOIN edges e ON e.artifact_id = s.selection_id AND e.direction = 'output'
               WHERE e.run_id = $1 ORDER BY s.rank""",
            [selection["run_id"]],
        )
        assert [row["frame_id"] for row in stored] == [row["frame_id"] for row in rows]

        given = fill(first, {number: "polyp" if number % 2 else "normal" for number in range(10)} | {10: "-"})
        assert select(12) == first  # and what was typed in stays
        assert rows_of(first)[0]["label"] == "normal"
        remove(lake, [rows[0]["frame_id"]])

        second = select(20, given, out="second", cap=15)
        found = rows_of(second)
        assert not {row["frame_id"] for row in found} & {row["frame_id"] for row in rows[:11]}
        assert {row["reason"] for row in found} <= {"uncertain", "new"}
        assert len(found) == 15  # all frames are of one video, and it counts as a patient
        assert (second / "label_studio" / "config.xml").read_text().count("<Choice ") == 2
        labelled = rows_of(second / "labelled")
        assert {row["frame_id"] for row in labelled} == {row["frame_id"] for row in rows[1:10]}
        assert rows_of(select(0, given, out="set")) == labelled

        with pytest.raises(FileExistsError, match="holds something else"):
            select(5, out="second")
        (tmp_path / "other.csv").write_text("frame_id,label\nof-another-lake,polyp\n")
        with pytest.raises(LakeError, match="never had, such as of-another-lake"):
            select(5, tmp_path / "other.csv")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    dead = 2**22 + 1  # above the largest number that Linux gives
    kept = [f".set.{os.getppid()}.part", f".other.{dead}.part", ".set.x.part"]
    for name in (f".set.{dead}.part", f".0123456789abcdef.{dead}.part", *kept):
        (tmp_path / name / "images").mkdir(parents=True)
    with make_lake(tmp_path / "lake", num_frames=1, dim=2) as lake:
        write_evaluation_set(lake, tmp_path / "set", GivenLabels(labels={}, unusable=(), num_open=0), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "lake", "set"])
