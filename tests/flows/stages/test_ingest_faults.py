"""Workers and whole runs killed for real while they ingest: only the video at hand is lost, if any, and a rerun ends
where a quiet run would."""

import random
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from curation.ingest.config import IngestConfig
from flows.job import Job
from flows.runners.runners import RunnerName, make_runner
from flows.stages.ingest import run_ingest
from tests.flows.conftest import kill_when, succeed
from tests.helpers.clips import FORMATS, Format, moving_picture, write_clip
from tests.helpers.lakes import contents
from warehouse.lake import open_lake

SIGNALS = {"segfault": signal.SIGSEGV, "kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three long videos to be hit by a signal and three short ones, in the order of their names."""
    folder = tmp_path_factory.mktemp("archive")
    short = [moving_picture(number) for number in range(10)]
    for position, name in enumerate(SIGNALS):
        film = [moving_picture(number + position) for number in range(32)]
        write_clip(folder / f"{position} {name}.mp4", film * 25, FORMATS["h264-mp4"])
        write_clip(folder / f"{position} sound.mp4", film[:10] + short, FORMATS["h264-mp4"])
    return folder


@contextmanager
def signalled(targets: dict[Path, signal.Signals], lake: Path) -> Iterator[dict[Path, int]]:
    """Send each worker that has a target open its signal, once, as soon as videos are being ingested."""
    hit: dict[Path, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.005) and len(hit) < len(targets):
            if not (lake / "staging/ingest").exists():
                continue  # files are still being hashed
            for process in psutil.Process().children(recursive=True):
                try:
                    opened = {Path(file.path) for file in process.open_files()}
                except psutil.Error:
                    continue
                for path in opened & (targets.keys() - hit.keys()):
                    process.send_signal(targets[path])
                    hit[path] = process.pid

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield hit
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["processes", pytest.param("ray", marks=pytest.mark.drill)])
def test_a_worker_that_crashes_or_hangs_costs_its_video_alone(runner: RunnerName, archive: Path, tmp_path: Path) -> None:
    targets = {path: sent for path in sorted(archive.iterdir()) for name, sent in SIGNALS.items() if name in path.name}
    config = IngestConfig(all=True, text="off", timeout_s=20)  # the video that is taken again must end in time
    with open_lake(tmp_path, create=True) as lake:
        job = Job(lake=lake, runner=make_runner(runner, 2))
        with signalled(targets, tmp_path) as hit:
            summary = run_ingest(job, [str(archive)], config=config)
        assert set(hit) == set(targets)
        assert (summary.num_ingested, summary.num_rejected) == (4, 2)  # what was killed from outside was taken again
        videos = [Path(row["uri"]).name for row in lake.rows("SELECT uri FROM videos ORDER BY uri")]
        assert videos == ["0%20sound.mp4", "1%20kill.mp4", "1%20sound.mp4", "2%20sound.mp4"]
        assert lake.rows("SELECT reason, detail FROM rejects ORDER BY uri") == [
            {"reason": "crash", "detail": "the worker process died with exit code -11"},
            {"reason": "timeout", "detail": "took longer than 20 s"},
        ]
        assert run_ingest(job, [str(archive)], config=config).num_known == 6


def flat(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), (170, 90, 70), np.uint8)


def claim_frames(path: Path, num: int) -> None:
    """Let the index of an mp4 of ten frames list as many frames as that."""
    write_clip(path, [moving_picture(number) for number in range(10)], FORMATS["h264-mp4"])
    content = bytearray(path.read_bytes())
    for name, offset, values in ((b"stsz", 4, (1, num)), (b"stts", 4, (1, num, 512)), (b"stsc", 12, (num,))):
        start = content.index(name) + 4 + offset
        content[start : start + 4 * len(values)] = struct.pack(f">{len(values)}I", *values)
    path.write_bytes(content)


def claim_length_and_size(path: Path, num_frames: int, side: int) -> None:
    """Let the header of an avi of ten small frames promise as many and as large ones as that."""
    write_clip(path, [moving_picture(number) for number in range(10)], FORMATS["mpeg4-avi"])
    content = bytearray(path.read_bytes())
    sizes = ((b"avih", 36, (side, side)), (b"strf", 8, (side, side)))
    for name, offset, values in ((b"avih", 20, (num_frames,)), (b"strh", 36, (num_frames,)), *sizes):
        start = content.index(name) + 4 + offset
        content[start : start + 4 * len(values)] = struct.pack(f"<{len(values)}I", *values)
    path.write_bytes(content)


def claim_jpeg_size(path: Path, side: int) -> None:
    """Let every JPEG of a Motion JPEG file say that it is as large as that."""
    write_clip(path, [moving_picture(number) for number in range(10)], FORMATS["mjpeg-avi"])
    head, *pictures = path.read_bytes().split(b"\xff\xc0")
    path.write_bytes(b"\xff\xc0".join([head, *(part[:3] + struct.pack(">HH", side, side) + part[7:] for part in pictures)]))


def ten_hours(path: Path) -> None:
    """Five frames, the last two ten hours after the others."""
    milliseconds = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.time_base = 96, 64, "yuv420p", milliseconds
        for number, ticks in enumerate((0, 100, 200, 36_000_000, 36_000_100)):
            frame = av.VideoFrame.from_ndarray(moving_picture(number), format="rgb24")
            frame.pts, frame.time_base = ticks, milliseconds
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.slow
def test_files_that_claim_or_need_too_much_end_within_the_limits(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    claim_frames(folder / "claims 100000 frames.mp4", 100_000)
    claim_frames(folder / "claims two billion frames.mp4", 2_000_000_000)
    claim_jpeg_size(folder / "claims 40000 pixels.avi", 40_000)
    claim_length_and_size(folder / "header lies.avi", 360_000, 40_000)
    ten_hours(folder / "ten hours.mkv")
    ten_hours(folder / "ten hours.mp4")
    write_clip(folder / "beyond max_frames.mp4", [moving_picture(number) for number in range(10)] * 6, FORMATS["h264-mp4"])
    write_clip(folder / "beyond max_pixels.avi", [flat(8000, 8000)], FORMATS["mjpeg-avi"])
    write_clip(folder / "beyond max_memory_mb.avi", [flat(7800, 7600)] * 3, Format("avi", "mjpeg", "yuvj444p"))
    write_clip(folder / "sound.mp4", [moving_picture(number) for number in range(10)], FORMATS["h264-mp4"])
    config = IngestConfig(text="off", max_frames=50, max_pixels=60_000_000, max_memory_mb=512, timeout_s=60)
    with open_lake(tmp_path / "lake", create=True) as lake:
        run_ingest(Job(lake=lake, runner=make_runner("processes", 2)), [str(folder)], config=config)
        videos = {row["uri"]: row["status"] for row in lake.rows("SELECT uri, status FROM videos")}
        reasons = lake.rows("SELECT uri, reason, detail FROM rejects")
        rejects = {row["uri"]: row["reason"] for row in reasons}
    assert {Path(uri).name.replace("%20", " "): outcome for uri, outcome in sorted((videos | rejects).items())} == {
        "beyond max_frames.mp4": "too_long",
        "beyond max_memory_mb.avi": "memory",
        "beyond max_pixels.avi": "too_large",
        "claims 100000 frames.mp4": "too_long",
        "claims 40000 pixels.avi": "undecodable",
        "claims two billion frames.mp4": "undecodable",
        "header lies.avi": "partial",
        "sound.mp4": "ok",
        "ten hours.mkv": "ok",
        "ten hours.mp4": "ok",
    }, reasons
    assert len(videos) + len(rejects) == 10


def test_what_was_given_up_is_tried_again_only_when_asked_and_then_counts_once(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [moving_picture(number) for number in range(20)], FORMATS["h264-mp4"])

    def run(max_frames: int, *, retry_failed: bool) -> tuple[int, list[str], list[str]]:
        config = IngestConfig(text="off", max_frames=max_frames, retry_failed=retry_failed)
        known = run_ingest(Job(lake=lake, runner=make_runner("serial")), [str(path)], config=config).num_known
        videos, rejects = lake.rows("SELECT status FROM videos"), lake.rows("SELECT detail FROM rejects")
        return known, [row["status"] for row in videos], [row["detail"] for row in rejects]

    with open_lake(tmp_path / "lake", create=True) as lake:
        too_long = ["it has more frames than max_frames=10; raise the limit to take them"]
        assert run(10, retry_failed=False) == (0, [], too_long)
        assert run(50, retry_failed=False) == (1, [], too_long)
        for _ in range(3):  # each try is a run of its own, also with the same settings
            assert run(10, retry_failed=True) == (0, [], too_long)
        assert run(50, retry_failed=True) == (0, ["ok"], [])
        assert run(50, retry_failed=True) == (1, ["ok"], [])


def after(seconds: float) -> Callable[[], bool]:
    started = time.monotonic()
    return lambda: time.monotonic() - started > seconds


@pytest.mark.slow
@pytest.mark.parametrize("num_kills", [2, pytest.param(12, marks=pytest.mark.drill)])
def test_a_run_killed_at_random_moments_ends_as_one_left_alone(num_kills: int, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    film = [moving_picture(number) for number in range(32)]
    for number in range(8):
        write_clip(folder / f"{number}.mp4", film[number:] + film[:number] + film * 3, FORMATS["h264-mp4"])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "again.mp4").write_bytes((folder / "0.mp4").read_bytes())
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    command = ["ingest", str(folder), "--all", "--text", "off", "--lake"]
    started = time.monotonic()
    succeed(*command, quiet)
    whole_s = time.monotonic() - started
    delays = random.Random(7)
    kills = sum(kill_when([*command, str(killed)], after(delays.uniform(0.1, 0.9) * whole_s)) for _ in range(num_kills))
    assert kills >= 1
    succeed(*command, killed)
    ours, theirs = contents(killed), contents(quiet)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert theirs["videos"]
