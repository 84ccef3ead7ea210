"""Ingest of hundreds of damaged files of every format: no crash of the run, no hang, every file accounted for once."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from curation.ingest.config import IngestConfig
from flows.job import Job
from flows.runners.runners import RunnerName, make_runner
from flows.stages.ingest import IngestSummary, run_ingest
from tests.helpers.clips import FORMATS, moving_picture, write_clip
from tests.helpers.lakes import CURATION_TABLES, contents
from tests.helpers.mutations import MUTATIONS, write_mutated
from warehouse.lake import open_lake

CONFIG = IngestConfig(fps=4, text="off", timeout_s=60, max_memory_mb=1500)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A second of every format, 96x64."""
    folder = tmp_path_factory.mktemp("clips")
    film = [moving_picture(number) for number in range(10)]
    return [write_clip(folder / f"{name}.{wanted.suffix}", film, wanted, gop=5) for name, wanted in FORMATS.items()]


def ingest(inputs: Sequence[Path], lake: Path, runner: RunnerName, config: IngestConfig = CONFIG) -> IngestSummary:
    with open_lake(lake, create=True) as opened:
        return run_ingest(Job(lake=opened, runner=make_runner(runner, 2)), [str(path) for path in inputs], config=config)


def outcomes(lake: Path) -> dict[str, str]:
    """What became of each file, by name; that each has one outcome is checked on the way."""
    with open_lake(lake, read_only=True) as opened:
        videos = [(row["uri"], row["status"]) for row in opened.rows("SELECT uri, status FROM videos")]
        rejects = [(row["uri"], row["reason"]) for row in opened.rows("SELECT uri, reason FROM rejects")]
    twice = [uri for uri, times in Counter(uri for uri, _ in [*videos, *rejects]).items() if times > 1]
    assert twice == []
    return {Path(uri).name: outcome for uri, outcome in [*videos, *rejects]}


@pytest.fixture(scope="module")
def damaged(clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_mutated(tmp_path_factory.mktemp("damaged"), clips, num=500, seed=20)


@pytest.fixture(scope="module")
def lake(damaged: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    assert ingest(damaged, folder, "processes").num_files == 500
    return folder


@pytest.mark.slow
def test_five_hundred_mutated_files_are_each_accounted_for_once(damaged: list[Path], lake: Path) -> None:
    found = outcomes(lake)
    assert sorted(found) == [path.name for path in damaged]
    count = Counter(found.values())
    assert min(count["ok"], count["partial"], count["undecodable"], count["not_a_video"], count["no_video_stream"]) >= 10
    assert count["error"] == 0


@pytest.mark.drill
def test_ray_makes_of_mutated_files_what_processes_make_of_them(damaged: list[Path], lake: Path, tmp_path: Path) -> None:
    """The first of every format with every kind of damage: no file's outcome hangs on those after it."""
    first = damaged[: len(FORMATS) * len(MUTATIONS)]
    ingest(first, tmp_path, "ray")
    told = outcomes(lake)
    assert outcomes(tmp_path) == {path.name: told[path.name] for path in first}
    ours, theirs = contents(tmp_path), contents(lake)
    for table in CURATION_TABLES:
        some, every = ours.pop(table), theirs[table]
        assert isinstance(some, list)
        assert isinstance(every, list)
        assert [row for row in some if row not in every] == []
    assert [file for file in ours if ours[file] != theirs.get(file)] == []


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif("ENDOFORGE_REAL_DATA" not in os.environ, reason="ENDOFORGE_REAL_DATA is not set")
def test_every_real_file_is_accounted_for_once(tmp_path: Path) -> None:
    folder = Path(os.environ["ENDOFORGE_REAL_DATA"]) / "videos"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    summary = ingest([folder], tmp_path, "processes", IngestConfig(timeout_s=60))
    found = outcomes(tmp_path)
    assert sorted(found) == sorted(path.name for path in paths)
    assert summary.num_files == len(paths) == 40
    unsound = {path.name for path in paths if path.parent.name == "damaged"}
    assert {name for name, outcome in found.items() if outcome != "ok"} == unsound
    with open_lake(tmp_path, read_only=True) as lake:
        videos = {row["video_id"]: row for row in lake.rows("SELECT video_id, uri, warning FROM current_videos WHERE status = 'ok'")}
        reasons = [row["drop_reason"] for row in lake.rows("SELECT video_id, drop_reason FROM frames") if row["video_id"] in videos]
    assert [video["uri"] for video in videos.values() if video["warning"] is not None] == []
    filtered = [reason for reason in reasons if reason not in (None, "near_duplicate")]
    assert len(filtered) <= 0.02 * (len(filtered) + reasons.count(None))
