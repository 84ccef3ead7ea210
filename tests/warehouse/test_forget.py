"""What of a video is found and deleted, what of others stays, and who may not be disturbed."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse.forgotten import forgotten_hash, request, write_record
from warehouse.lake import Lake, LakeError, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.locks import held_lock
from warehouse.records import Artifact
from warehouse.schema import TABLES
from warehouse.searched import searched
from warehouse.traces import delete_rows, find_traces, subject_of, videos_of_uri

A, B = "a" * 64, "b" * 64


def add(lake: Lake, table: str, **values: object) -> None:
    row = dict.fromkeys(TABLES[table].names) | values
    with lake.transaction():
        lake.append(table, pa.Table.from_pylist([row], schema=TABLES[table]))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = open_lake(tmp_path / "lake", create=True)
    for video_id, uris in ((A, ("file:///in/current.mp4", "file:///in/my%20a.mp4")), (B, ("file:///in/current.mp4",))):
        for uri in uris:
            add(made, "files", uri=uri, version="1", video_id=video_id)
        add(made, "videos", uri=uris[0], video_id=video_id)
        add(made, "frames", frame_id=f"{video_id[:16]}-00000000-0", video_id=video_id)
        add(made, "packs", pack_id=f"pack of {video_id[:3]}", video_id=video_id)
        add(made, "artifacts", artifact_id=video_id, kind="video", uri=uris[0])
    add(made, "holdout", frame_id=f"{B[:16]}-00000000-0", match_kind="perceptual", reference="my a.mp4", reference_sha256=A)
    add(made, "dedup", frame_id=f"{B[:16]}-00000000-0", nearest_frame_id=f"{A[:16]}-00000000-0")
    return made


def test_a_place_that_holds_another_video_now_is_not_theirs(lake: Lake) -> None:
    subject = subject_of(lake, [A])
    assert subject.uris == ("file:///in/my%20a.mp4",)
    assert "/in/my a.mp4" in subject.needles
    assert find_traces(lake, subject).rows == {"files": 2, "videos": 1, "frames": 1, "packs": 1, "artifacts": 1}
    delete_rows(lake, subject, withdrawn=[], message="forget")
    for table, column in (("files", "video_id"), ("videos", "video_id"), ("frames", "video_id"), ("artifacts", "artifact_id")):
        assert lake.rows(f"SELECT DISTINCT {column} AS one FROM {table}") == [{"one": B}], table
    assert lake.rows("SELECT frame_id, nearest_frame_id FROM dedup") == [{"frame_id": f"{B[:16]}-00000000-0", "nearest_frame_id": None}]
    assert lake.rows("SELECT match_kind, reference, reference_sha256 FROM holdout") == [
        {"match_kind": "perceptual", "reference": None, "reference_sha256": None}
    ]


def test_a_name_of_several_or_no_videos_is_refused(lake: Lake) -> None:
    assert videos_of_uri(lake, ["/in/my a.mp4", A[:8]]) == (A,)
    with pytest.raises(LakeError, match=r"names 2 videos \(a{16}, b{16}\)"):
        videos_of_uri(lake, ["/in/current.mp4"])
    with pytest.raises(LakeError, match="names no video of this lake"):
        videos_of_uri(lake, ["/in/other.mp4"])


def test_a_text_is_found_in_values_bytes_and_names_but_not_in_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["needle"] * 3, "vector": [[1.0, 2.0]] * 3}), tmp_path / "rows.parquet")
    (tmp_path / "page.html").write_bytes(b"x" * (1 << 22) + b"needle")
    (tmp_path / "a needle.txt").touch()
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 needle")
    (tmp_path / "other.txt").write_text("hay")
    assert [path.name for path in searched(tmp_path, ["needle"])] == ["a needle.txt", "cut.parquet", "page.html", "rows.parquet"]


def test_another_process_that_holds_a_lock_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "staging" / "select" / "lock"
    lock.parent.mkdir(parents=True)
    assert held_lock(tmp_path) is None
    script = "import sys; from filelock import FileLock\nwith FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert held_lock(tmp_path) == "staging/select/lock"
        assert holder.stdin is not None
        holder.stdin.close()
    assert held_lock(tmp_path) is None


def test_work_on_what_was_forgotten_meanwhile_is_not_committed(lake: Lake) -> None:
    pack = Artifact(artifact_id="pack of aaa", kind="frame_pack", uri="frames/a.tar")
    write_record(lake.root, request(lake.root, [pack.artifact_id], requested_by="17", num_videos=1))
    plan = plan_run(stage="embed", version=1, config={}, inputs=[pack])
    with pytest.raises(ValueError, match="worked on what was forgotten meanwhile"), record_run(lake, plan, RunContext(runner="serial")):
        pass
    assert forgotten_hash(lake.root, "pack of bbb") != forgotten_hash(lake.root, "pack of aaa")
