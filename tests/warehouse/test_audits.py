import contextlib
import datetime
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.audits import AuditedFrame, draw_sample
from warehouse.lake import Lake, open_lake
from warehouse.schema import TABLES

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake"), create=True) as opened:
        yield opened


def append(lake: Lake, table: str, *rows: dict[str, object]) -> None:
    full = [{name: row.get(name) for name in TABLES[table].names} for row in rows]
    lake.append(table, pa.Table.from_pylist(full, schema=TABLES[table]))


def add_video(lake: Lake, video: str, key: str, scores: list[tuple[float, float | None]], *, step_us: int = 1_000_000) -> None:
    """A video of one kept frame a score pair, ingested with `key`, in a run that ended as many days after NOW as the key's last digit."""
    ended = NOW + datetime.timedelta(days=int(key[-1]))
    common: dict[str, object] = {"video_id": video, "ingest_key": key, "run_id": f"{video}-{key}", "pack_id": f"{video}-{key}"}
    append(lake, "runs", common | {"status": "complete", "ended_at": ended})
    append(lake, "videos", common | {"uri": f"file:///{video}.mp4"})
    append(lake, "packs", common | {"path": f"frames/{video}.tar"})
    frames: list[dict[str, object]] = [
        {"frame_id": f"{video}-{key}-{number}", "pts_us": number * step_us, "keep": True, "byte_offset": number, "byte_size": 1}
        | {"out_of_body": out_of_body, "text_share": text_share}
        for number, (out_of_body, text_share) in enumerate(scores)
    ]
    append(lake, "frames", *(common | frame for frame in frames))


@contextlib.contextmanager
def rolled_back(lake: Lake) -> Iterator[None]:
    with contextlib.suppress(KeyboardInterrupt), lake.transaction():
        yield
        raise KeyboardInterrupt


def counts(frames: list[AuditedFrame]) -> list[int]:
    return sorted(Counter(frame.video_id for frame in frames).values(), reverse=True)


@settings(max_examples=15)
@given(
    videos=st.lists(
        st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.29]), st.sampled_from([None, 0.0, 0.4])), min_size=1, max_size=9), max_size=6
    ),
    size=st.integers(2, 40),
    seed=st.integers(0, 3),
)
def test_a_sample_has_its_size_no_frame_twice_and_no_video_that_another_crowds_out(
    lake: Lake, videos: list[list[tuple[float, float | None]]], size: int, seed: int
) -> None:
    with rolled_back(lake):
        for number, scores in enumerate(videos):
            add_video(lake, f"v{number}", "k1", scores)
        drawn = draw_sample(lake, size=size, seed=seed)
        again = draw_sample(lake, size=size, seed=seed)
    assert drawn == again
    assert len({frame.frame_id for frame in drawn}) == len(drawn) == min(size, sum(map(len, videos)))
    taken = Counter(frame.video_id for frame in drawn if frame.stratum == "random")
    assert taken.total() == min((size + 1) // 2, sum(map(len, videos)))
    most = max(taken.values(), default=0)
    for number, scores in enumerate(videos):  # a video that gives fewer than another, by more than the last turn, has no more to give
        assert taken[f"v{number}"] >= min(len(scores), most - 1)


def test_the_doubtful_half_is_the_worst_by_either_score(lake: Lake) -> None:
    with rolled_back(lake):
        add_video(lake, "v", "k1", [(0.01, 0.0)] * 40 + [(0.2, None), (0.29, 0.001), (0.0, 0.9), (0.0, 0.5)])
        drawn = draw_sample(lake, size=8, seed=5)
    numbers = {
        stratum: {int(frame.frame_id.split("-")[2]) for frame in drawn if frame.stratum == stratum} for stratum in ("random", "doubtful")
    }
    assert len(numbers["random"]) == 4
    assert {40, 41, 42, 43} <= numbers["random"] | numbers["doubtful"]


def test_long_videos_are_no_likelier_to_be_drawn_than_short_ones(lake: Lake) -> None:
    with rolled_back(lake):
        for number in range(20):
            add_video(lake, f"short{number}", "k1", [(0.0, None)])
        for number in range(20):
            add_video(lake, f"long{number}", "k1", [(0.0, None)] * 30)
        drawn = [frame for seed in range(10) for frame in draw_sample(lake, size=40, seed=seed) if frame.stratum == "random"]
    num_short = sum(frame.video_id.startswith("short") for frame in drawn)
    assert len(drawn) == 200
    assert 70 < num_short < 130  # 100 expected; weighted by length it would be 6


def test_a_removed_frame_stays_out_when_its_video_is_ingested_again(lake: Lake) -> None:
    def kept() -> list[str]:
        return [row["frame_id"] for row in lake.rows("SELECT frame_id FROM candidates ORDER BY video_id, pts_us")]

    with rolled_back(lake):
        add_video(lake, "v", "k1", [(0.0, None)] * 3)
        append(lake, "removals", {"run_id": "r", "frame_id": "v-k1-1", "reason": "identified_in_audit", "source": "a"})
        before = kept()
        add_video(lake, "v", "k2", [(0.0, None)] * 6, step_us=400_000)
        add_video(lake, "w", "k2", [(0.0, None)] * 3)
        after = kept()
        append(lake, "removals", {"run_id": "r", "frame_id": "v-k1-0", "reason": "video_removed_in_audit", "source": "a"})
        whole_video = kept()
        fates = lake.rows("SELECT DISTINCT frame_id, drop_reason FROM current_frames WHERE NOT keep AND pts_us > 700000 ORDER BY frame_id")
    assert before == ["v-k1-0", "v-k1-2"]
    assert after == ["v-k2-0", "v-k2-1", "v-k2-4", "v-k2-5", "w-k2-0", "w-k2-1", "w-k2-2"]  # within half a second of 1 s: 0.8 and 1.2 s
    assert whole_video == ["w-k2-0", "w-k2-1", "w-k2-2"]
    assert {fate["frame_id"]: fate["drop_reason"] for fate in fates}["v-k2-2"] == "identified_in_audit"
