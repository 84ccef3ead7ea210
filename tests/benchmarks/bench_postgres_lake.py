"""Commits a second of eight processes that write to one lake, with its catalog in a Postgres database and in its SQLite file.

python tests/benchmarks/bench_postgres_lake.py [writers] [commits of each] [frames]. Every commit adds one row; all rows must be there at
the end. Then frames are added, a thousand a video, and the view `funnel` is asked. The server is one of its own on this machine's disk,
without fsync; the lakes are in the folder for temporary files.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.postgres import server
from warehouse.lake import open_lake
from warehouse.new_lake import make_lake

WRITER = """
import sys, time
from tests.helpers.rejects import add_reject
from warehouse.lake import open_lake
with open_lake(sys.argv[1]) as lake:
    lake.rows("FROM rejects")
    print(file=sys.stderr, flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[3])):
        add_reject(lake, f"{sys.argv[2]}-{number}")
    print(time.time(), flush=True)
"""

QUESTIONS = ("SELECT count(*) AS n FROM frames", "SELECT num_frames AS n FROM funnel WHERE step = 'sampled'")


def commits_per_s(lake: Path, *, num_writers: int, num_commits: int) -> float:
    """From when all writers have opened the lake until the last has committed; says what was lost."""
    before = count(lake)
    command = [sys.executable, "-c", WRITER, str(lake)]
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen([*command, f"{num_writers}-{name}", str(num_commits)], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for name in range(num_writers)
    ]
    for writer in writers:
        assert writer.stderr is not None
        writer.stderr.readline()
    began = time.time()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    ended = [float(writer.communicate()[0].split()[-1]) for writer in writers]
    lost = num_writers * num_commits - (count(lake) - before)
    assert lost == 0, f"{lost} commits are lost"
    return num_writers * num_commits / (max(ended) - began)


def add_frames(lake: Path, num_frames: int) -> None:
    """Frames of one complete ingest, of which the view asks little more than their fate."""
    with open_lake(lake) as opened, opened.transaction():
        now = "TIMESTAMPTZ '2026-01-01 00:00:00+00'"
        opened.query(f"INSERT INTO runs BY NAME SELECT 'ingest-1' AS run_id, 'complete' AS status, 'ingest' AS stage, {now} AS ended_at")
        opened.query(
            """INSERT INTO videos BY NAME SELECT md5(n::VARCHAR) AS video_id, 'key' AS ingest_key, 'file:///' || n AS uri,
               'ingest-1' AS run_id FROM range($1) t(n)""",
            [num_frames // 1000],
        )
        opened.query(
            """INSERT INTO frames BY NAME SELECT left(video_id, 16) || '-' || lpad(n::VARCHAR, 10, '0') AS frame_id, video_id, ingest_key,
               n * 1000000 AS pts_us, n % 3 > 0 AS keep, CASE WHEN n % 3 = 0 THEN 'blurred' END AS drop_reason
               FROM videos, range(1000) t(n)""",
        )


def seconds_of(lake: Path, question: str) -> tuple[float, int]:
    """Of a question, with the opening of the lake; and the frames that it counted."""
    began = time.perf_counter()
    with open_lake(lake, read_only=True) as opened:
        (row,) = opened.rows(question)
    return time.perf_counter() - began, int(row["n"])


def count(lake: Path) -> int:
    with open_lake(lake, read_only=True) as opened:
        return int(opened.rows("SELECT count(DISTINCT uri) AS n FROM rejects")[0]["n"])


def main() -> None:
    defaults = ("8", "10", "10000000")
    num_writers, num_commits, num_frames = (int(text) for text in (*sys.argv[1:], *defaults[len(sys.argv) - 1 :])[:3])
    with tempfile.TemporaryDirectory() as name, server() as postgres:
        lakes = {"Postgres": make_lake(Path(name) / "postgres", postgres.catalog("bench")), "SQLite": Path(name) / "sqlite"}
        open_lake(lakes["SQLite"], create=True).close()
        speeds = {
            (kind, writers): commits_per_s(lake, num_writers=writers, num_commits=num_commits)
            for writers in (1, num_writers)
            for kind, lake in lakes.items()
        }
        asked = {}
        for kind, lake in lakes.items():
            add_frames(lake, num_frames)
            for question in QUESTIONS:
                asked[kind, question], counted = seconds_of(lake, question)
                assert counted == num_frames, f"{counted} frames of {num_frames} are there"
    for (kind, writers), speed in speeds.items():
        print(f"{kind:>8} catalog, {writers} writers: {speed:6.2f} commits a second, none lost")
    many = {kind: speeds[kind, num_writers] for kind in lakes}
    print(f"{num_writers} writers on Postgres against one: {many['Postgres'] / speeds['Postgres', 1]:.2f}")
    print(f"{num_writers} writers on Postgres against {num_writers} on SQLite: {many['Postgres'] / many['SQLite']:.2f}")
    for question in QUESTIONS:
        spent = {kind: asked[kind, question] for kind in lakes}
        seconds = ", ".join(f"{kind} {spent[kind]:.1f} s" for kind in lakes)
        print(f"{question} over {num_frames:.0e} frames: {seconds}, {spent['Postgres'] / spent['SQLite']:.2f}")


if __name__ == "__main__":
    main()
