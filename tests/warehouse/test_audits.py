import contextlib
import datetime
import json
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from warehouse.audits import AuditedFrame, audit_with_id, draw_sample, num_found_at_random
from warehouse.dataset_audit import dataset_audit
from warehouse.lake import Lake, open_lake
from warehouse.schema import TABLES
from warehouse.summary import Preview, dropped_previews

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


def test_what_repeats_a_removed_frame_stays_out_whatever_a_requalification_says(lake: Lake) -> None:
    fates = ["kept", "frozen", "kept", "near_duplicate", "blurred", *["frozen"] * 9, "kept", "near_duplicate", "kept", "near_duplicate"]
    with rolled_back(lake):
        append(lake, "runs", {"run_id": "v", "status": "complete", "ended_at": NOW}, requalification("q", day=1))
        append(lake, "videos", {"video_id": "v", "ingest_key": "k", "run_id": "v", "uri": "file:///v.mp4"})
        for number, fate in enumerate(fates):
            keep = fate == "kept"
            frame = {"frame_id": f"{number:02}", "video_id": "v", "ingest_key": "k", "pts_us": number * 1_000_000, "keep": keep}
            append(lake, "frames", frame | {"drop_reason": None if keep else fate})
            if not keep:
                append(lake, "requalified", {"run_id": "q", "frame_id": f"{number:02}", "keep": True})
        append(lake, "removals", {"run_id": "r", "frame_id": "02", "reason": "identified_in_audit", "source": "a"})
        after_one = [row["frame_id"] for row in lake.rows("SELECT frame_id FROM current_frames WHERE NOT keep ORDER BY 1")]
        append(lake, "removals", {"run_id": "r", "frame_id": "15", "reason": "identified_in_audit", "source": "a"})
        after_two = [row["frame_id"] for row in lake.rows("SELECT frame_id FROM current_frames WHERE NOT keep ORDER BY 1")]
    around = ["01", "02", "03", *(f"{number:02}" for number in range(5, 14))]  # the long freeze too, and neither kept ones nor the blurred
    assert after_one == around
    assert after_two == [*around, "15", "17"]  # one that was brought back repeats the kept one before it or after it, and so may theirs


def test_one_of_a_dataset_with_two_names_is_drawn_and_counted_once(lake: Lake) -> None:
    with rolled_back(lake):
        add_video(lake, "v", "k1", [(0.0, None)] * 4 + [(0.0, 0.0)] * 6)
        add_dataset(lake, "D", "one", [f"v-k1-{number}" for number in range(10)])
        add_dataset(lake, "D", "two", [f"v-k1-{number}" for number in range(10)])
        drawn = draw_sample(lake, size=20, seed=0, dataset_id="D")
        mix = lake.rows("SELECT dataset, num_frames, share FROM dataset_mix ORDER BY dataset")
        funnel = lake.rows("SELECT name, num_frames FROM dataset_funnel WHERE step = 'in shards' ORDER BY name")
        uses = lake.rows("SELECT num_frames_in_datasets AS num FROM per_video")
        unchecked = dataset_audit(lake, "D").num_unchecked_for_text
    assert len({frame.frame_id for frame in drawn}) == len(drawn) == 10
    assert {frame.path.split("/")[1] for frame in drawn} == {"one"}
    assert mix == [{"dataset": name, "num_frames": 10, "share": 1.0} for name in ("one", "two")]
    assert funnel == [{"name": name, "num_frames": 10} for name in ("one", "two")]
    assert uses == [{"num": 10}]
    assert unchecked == 4


def test_frames_that_were_never_looked_at_for_text_take_their_turn_among_the_doubtful(lake: Lake) -> None:
    with rolled_back(lake):
        add_video(lake, "v", "k1", [(0.0, 0.0)] * 60 + [(0.29, 0.0)] * 20 + [(0.0, 0.5)] * 20 + [(0.0, None)] * 20)
        drawn = draw_sample(lake, size=24, seed=1)
    doubtful = Counter(int(frame.frame_id.split("-")[2]) // 20 for frame in drawn if frame.stratum == "doubtful")
    assert doubtful == {3: 4, 4: 4, 5: 4}


def test_frames_brought_back_or_taken_out_since_the_draw_are_told_apart(lake: Lake) -> None:
    with rolled_back(lake):
        add_video(lake, "v", "k1", [(0.0, 0.0)] * 5)
        append(lake, "runs", requalification("before", day=2), requalification("after", day=4))
        for run, number, keep in (("before", 1, False), ("before", 2, False), ("after", 2, False), ("after", 3, False)):
            append(lake, "requalified", {"run_id": run, "frame_id": f"v-k1-{number}", "keep": keep})
        add_dataset(lake, "D", "one", [f"v-k1-{number}" for number in (0, 1, 4)])
        counted = {}
        for audit, dataset_id in (("all", None), ("own", "D")):
            add_audit(lake, audit, day=3, dataset_id=dataset_id, status="clean" if dataset_id else "open")
            counted[audit] = dataset_audit(lake, "D").num_later_frames
    assert counted == {"all": 1, "own": 0}  # frame 1, which was out when the sample was drawn; the dataset's own sample could hold it


def test_a_signed_audit_counts_before_a_later_one_that_is_not(lake: Lake) -> None:
    with rolled_back(lake):
        add_audit(lake, "first", day=1, status="clean")
        add_audit(lake, "second", day=2)
        signed = dataset_audit(lake, "D")
        add_audit(lake, "third", day=3, status="clean")
        latest = dataset_audit(lake, "D")
    assert signed.audit is not None
    assert latest.audit is not None
    assert (signed.audit.audit_id, latest.audit.audit_id) == ("first", "third")


def test_sign_offs_of_one_audit_add_up_in_either_order(lake: Lake) -> None:
    states = {}
    for order in (("findings", "clean"), ("clean", "findings")):
        with rolled_back(lake):
            add_video(lake, "v", "k1", [(0.0, 0.0)] * 5)
            add_dataset(lake, "D", "one", ["v-k1-0", "v-k1-1"])
            add_dataset(lake, "E", "two", ["v-k1-2", "v-k1-3"])
            add_audit(lake, "a", day=1)
            append(lake, "audit_frames", {"audit_id": "a", "frame_id": "v-k1-1", "position": 2, "stratum": "doubtful"})
            for day, status in enumerate(order, start=2):
                add_sign_off(lake, "a", day=day, status=status, reviewer=f"of {status}", bound=0.1 if status == "findings" else 0.03)
            append(lake, "removals", {"run_id": "a-findings", "frame_id": "v-k1-1", "reason": "identified_in_audit", "source": "a"})
            audit = audit_with_id(lake, "a")
            states[order] = (audit.status, audit.num_findings, audit.upper_bound_95, audit.num_sign_offs)
            assert audit.reviewer == ", ".join(f"of {status}" for status in order)
            held, free = dataset_audit(lake, "D"), dataset_audit(lake, "E")
            listed = lake.rows("SELECT dataset, status, num_removed FROM dataset_audits ORDER BY dataset")
            add_audit(lake, "b", day=5)
            add_sign_off(lake, "b", day=6, status="clean", reviewer="J", bound=0.03)
            assert (dataset_audit(lake, "D").status, dataset_audit(lake, "E").status) == ("findings", "clean")
        assert (held.status, held.num_removed, held.is_clear) == ("findings", 1, False)
        assert (free.status, free.num_removed, free.is_clear) == ("removed", 0, False)
        assert listed == [
            {"dataset": "one", "status": "findings", "num_removed": 1},
            {"dataset": "two", "status": "removed", "num_removed": 0},
        ]
    assert set(states.values()) == {("findings", 1, 0.1, 2)}


def test_the_kept_frames_of_a_video_are_counted_as_of_now(lake: Lake) -> None:
    counts = "SELECT c.num_frames_kept AS current, p.num_frames_kept AS per FROM current_videos c JOIN per_video p USING (video_id)"
    with rolled_back(lake):
        add_video(lake, "v", "k1", [(0.0, None)] * 5)
        before = lake.rows(counts)
        append(lake, "runs", requalification("q", day=2))
        append(lake, "requalified", {"run_id": "q", "frame_id": "v-k1-4", "keep": False, "drop_reason": "blurred"})
        requalified = lake.rows(counts)
        append(lake, "removals", {"run_id": "r", "frame_id": "v-k1-1", "reason": "identified_in_audit", "source": "a"})
        audited = lake.rows(counts)
    assert [before, requalified, audited] == [[{"current": num, "per": num}] for num in (5, 4, 3)]


def test_what_two_people_found_at_random_is_counted_once(lake: Lake) -> None:
    with rolled_back(lake):
        for position, stratum in enumerate(("random", "random", "random", "doubtful")):
            append(lake, "audit_frames", {"audit_id": "a", "frame_id": f"f{position}", "position": position, "stratum": stratum})
        for name in ("f0", "f3"):
            append(lake, "removals", {"run_id": "r", "frame_id": name, "reason": "identified_in_audit", "source": "a"})
        append(lake, "removals", {"run_id": "r", "frame_id": "f2", "reason": "identified_in_audit", "source": "another"})
        assert num_found_at_random(lake, "a", ["f0", "f1"]) == 2
        assert num_found_at_random(lake, "a", []) == 1


def test_a_preview_is_shown_only_while_ingests_reason_holds(lake: Lake) -> None:
    with rolled_back(lake):
        add_video(lake, "v", "k1", [])
        append(lake, "runs", requalification("q", day=2))
        for name in ("still", "private", "back"):
            frame = {"frame_id": name, "ingest_key": "k1", "drop_reason": "blurred"}
            append(lake, "frames", frame | {"video_id": "v", "pts_us": 0, "keep": False})
            append(lake, "previews", frame | {"jpeg": name.encode()})
        append(lake, "requalified", {"run_id": "q", "frame_id": "private", "keep": False, "drop_reason": "out_of_body"})
        append(lake, "requalified", {"run_id": "q", "frame_id": "back", "keep": True})
        found = dropped_previews(lake, limit=9)
    assert found == {"blurred": (Preview(frame_id="still", pts_us=0, jpeg=b"still"),)}


def requalification(run_id: str, *, day: int) -> dict[str, object]:
    return {"run_id": run_id, "stage": "requalify", "status": "complete", "ended_at": NOW + datetime.timedelta(days=day)}


def add_audit(lake: Lake, audit_id: str, *, day: int, dataset_id: str | None = None, status: str = "open") -> None:
    time = NOW + datetime.timedelta(days=day)
    append(lake, "runs", {"run_id": audit_id, "status": "complete", "ended_at": time, "metrics": "{}"})
    row: dict[str, object] = {
        "audit_id": audit_id,
        "run_id": audit_id,
        "dataset_id": dataset_id,
        "status": status,
        "num_frames": 1,
        "recorded_at": time,
    }
    append(lake, "audits", row | {"seed": 0, "sheet": "sheet.html"})
    append(lake, "audit_frames", {"audit_id": audit_id, "frame_id": "f", "position": 1, "stratum": "random"})


def add_sign_off(lake: Lake, audit_id: str, *, day: int, status: str, reviewer: str, bound: float) -> None:
    time, run_id = NOW + datetime.timedelta(days=day), f"{audit_id}-{status}"
    append(lake, "runs", {"run_id": run_id, "status": "complete", "ended_at": time, "metrics": json.dumps({"upper_bound_95": bound})})
    row: dict[str, object] = {"audit_id": audit_id, "run_id": run_id, "status": status, "reviewer": reviewer, "num_frames": 1}
    append(lake, "audits", row | {"seed": 0, "sheet": "sheet.html", "recorded_at": time})


def add_dataset(lake: Lake, dataset_id: str, name: str, frame_ids: list[str]) -> None:
    shard: dict[str, object] = {"dataset_id": dataset_id, "shard": f"{name}-000000.tar"}
    append(lake, "datasets", {"dataset_id": dataset_id, "name": name, "num_images": len(frame_ids)})
    append(lake, "shards", shard | {"path": f"datasets/{name}/{name}-000000.tar", "sha256": "s"})
    append(lake, "shard_frames", *(shard | {"frame_id": frame, "byte_offset": 0, "byte_size": 1} for frame in frame_ids))
