"""Ingest that looks for text gives the same rows and pictures in series as by processes that resume a killed run."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from curation.ingest.config import IngestConfig
from flows.job import Job
from flows.runners.runners import RunnerName, make_runner
from flows.stages.ingest import run_ingest
from tests.flows.conftest import kill_when
from tests.helpers.clips import FORMATS, write_clip
from tests.helpers.lakes import contents, count
from warehouse.lake import open_lake


def picture(seed: int) -> np.ndarray:
    """Soft tissue with a name and a date burned in, [176, 256, 3] uint8."""
    rng = np.random.default_rng(seed)
    waves = cv2.resize(rng.normal(0, 1, (11, 16)).astype(np.float32), (256, 176), interpolation=cv2.INTER_CUBIC)
    rgb = np.clip(np.stack([165 + 25 * waves, 90 + 18 * waves, 70 + 14 * waves], axis=2), 0, 255).astype(np.uint8)
    for row, line in enumerate(("MUELLER ANNA", "12/03/1958")):
        cv2.putText(rgb, line, (24, 60 + 26 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
    return rgb


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        write_clip(folder / f"{number}.mp4", [picture(10 * number + each) for each in range(4)], FORMATS["h264-mp4"], fps=1)
    return folder


def ingested(videos: Path, lake: Path, runner: RunnerName) -> dict[str, object]:
    with open_lake(lake, create=True) as opened:
        run_ingest(Job(lake=opened, runner=make_runner(runner, 2)), [str(videos)], config=IngestConfig())
    return contents(lake)


def test_text_is_hidden_alike_in_series_and_by_processes_that_resume_a_killed_run(videos: Path, tmp_path: Path) -> None:
    serial = ingested(videos, tmp_path / "serial", "serial")
    with open_lake(tmp_path / "serial", read_only=True) as lake:
        shares = [row["text_share"] for row in lake.rows("SELECT text_share FROM frames")]
    assert len(shares) == 12
    assert min(shares) > 0.05
    killed = tmp_path / "killed"
    command = ["ingest", str(videos), "--lake", str(killed), "--runner", "serial"]
    assert kill_when(command, lambda: count(killed / "staging/ingest", "*.json") >= 1)
    assert count(killed / "staging/ingest", "*.json") < 3, "the rest is for the worker processes"
    assert ingested(videos, killed, "processes") == serial
