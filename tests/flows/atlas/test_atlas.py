"""The atlas of a small real lake: what it shows, what it keeps to itself, and the page in a browser."""

import base64
import json
import os
import platform
import pwd
import re
import shutil
import socket
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from flows.atlas.details import compared, frames_of, part_script
from flows.atlas.export import export_atlas
from flows.atlas.layout import lay_out
from flows.atlas.most_points import check_most
from flows.atlas.parts import all_parts
from flows.atlas.points import Atlas, read_atlas
from flows.atlas.script import as_script
from flows.atlas.server import HOST, PAGES, make_app
from flows.cli.cli import main
from flows.job import Job
from flows.runners import make_runner
from tests.helpers.chromium import chromium, watched
from warehouse import queries
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.schema import embedding_schema
from warehouse.store import write_parquet

STORED = Path(__file__).parents[2] / "warehouse" / "lakes" / "0.1.0.tar.xz"
SECRET = "0123456789abcdef"
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(STORED) as tar:
        tar.extractall(folder, filter="data")
    return folder / "lake"


@pytest.fixture(scope="module")
def atlas(root: Path) -> Atlas:
    with open_lake(root, read_only=True) as lake:
        return read_atlas(lake, encoder=None, dataset=None, most=1000, layout="pca")


def test_the_map_has_the_kept_frames_and_their_fate(root: Path, atlas: Atlas) -> None:
    with open_lake(root, read_only=True) as lake:
        kept = {row["frame_id"] for row in lake.rows("SELECT frame_id FROM candidates")}
        chosen = {row["frame_id"] for row in lake.rows("SELECT frame_id FROM selections")}
    assert set(atlas.frame_ids) == kept
    assert len(atlas.frame_ids) == atlas.num_all == len(kept)
    assert {f for f, fate in zip(atlas.frame_ids, atlas.colours["dataset"], strict=True) if fate == "in the dataset"} == chosen
    assert len(set(atlas.colours["video"])) == 2
    assert "site" not in atlas.colours
    assert atlas.positions.min() == 0
    assert atlas.positions.max() == 1
    assert atlas.notes[0] == f"{len(kept)} of {len(kept)} kept and embedded frames"
    assert ".mp4" not in as_script(atlas).decode()


def test_a_smaller_map_is_a_part_of_the_same_and_says_so(root: Path, atlas: Atlas) -> None:
    with open_lake(root, read_only=True) as lake:
        part = read_atlas(lake, encoder=None, dataset="set", most=5, layout="pca")
        with pytest.raises(ValueError, match=r"got 1000001 as the most points, expected 3 to 1,000,000"):
            read_atlas(lake, encoder=None, dataset=None, most=1_000_001, layout="pca")
    with pytest.raises(ValueError, match=r"got 100,001 as the most points of an export, expected up to 100,000"):
        check_most(100_001, is_export=True)
    assert part.frame_ids == atlas.frame_ids[:5]
    assert part.notes[0] == f"5 of {atlas.num_all} kept and embedded frames"


def test_frames_of_a_flagged_video_and_removed_frames_are_not_shown(root: Path, atlas: Atlas, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(root, copy)
    flagged, other = sorted(set(atlas.colours["video"]))
    gone = next(frame for frame, video in zip(atlas.frame_ids, atlas.colours["video"], strict=True) if video == other)
    with open_lake(copy) as lake, lake.transaction():
        lake.query("UPDATE videos SET out_of_body_share = 0.9 WHERE starts_with(video_id, $1)", [flagged])
    with open_lake(copy, read_only=True) as lake:
        left = read_atlas(lake, encoder=None, dataset=None, most=1000, layout="pca")
        assert all(not frame.startswith(flagged) for frame in left.frame_ids)
        assert "1 flagged videos are left out until a person has looked at them" in left.notes
        client = TestClient(make_app(lake, left, SECRET))
        assert client.get(f"/{SECRET}/pictures/0.jpg").status_code == 200
        with open_lake(copy) as writing, writing.transaction():
            run = writing.rows("SELECT run_id FROM runs LIMIT 1")[0]["run_id"]
            writing.query("INSERT INTO removals BY NAME SELECT $1 AS frame_id, 'identified_in_audit' AS reason, $2 AS run_id", [gone, run])
        refused = client.get(f"/{SECRET}/pictures/0.jpg")
        assert (refused.status_code, refused.json()["detail"]) == (
            410,
            "frames were removed from the lake since the atlas began; start it again",
        )


def test_the_server_answers_under_its_secret_alone(root: Path, atlas: Atlas) -> None:
    assert HOST == "127.0.0.1"
    with open_lake(root, read_only=True) as lake:
        client = TestClient(make_app(lake, atlas, SECRET))
        for path in ("/", "/docs", "/openapi.json", "/wrong/index.html", "/wrong/pictures/0.jpg"):
            assert client.get(path).status_code == 404, path
        for path in (*PAGES, "points.js"):
            got = client.get(f"/{SECRET}/{path}")
            assert got.status_code == 200
            assert got.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert client.get(f"/{SECRET}/pictures/0.jpg").content[:2] == b"\xff\xd8"
        for path in ("pictures/-1.jpg", "pictures/9999.jpg", "server.py", "..%2f..%2fcatalog.sqlite"):
            assert client.get(f"/{SECRET}/{path}").status_code in (404, 422), path
        told = client.post(f"/{SECRET}/sql", json={"statement": "SELECT count(*) AS n FROM candidates"})
        assert told.json() == {"columns": ["n"], "rows": [{"n": atlas.num_all}], "num_rows": 1}
        for statement in ("DELETE FROM frames", "FROM nowhere"):
            assert "error" in client.post(f"/{SECRET}/sql", json={"statement": statement}).json()
        assert client.post("/wrong/sql", json={"statement": "FROM funnel"}).status_code == 404


@pytest.fixture(scope="module")
def two_models(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Atlas]:
    """A copy of the lake that a second encoder embedded too, and its map with both."""
    copy = tmp_path_factory.mktemp("two") / "lake"
    shutil.copytree(root, copy)
    with open_lake(copy) as lake:
        first = queries.encoder_named(lake, None)
        parts, told = [], {"encoder": "second", "encoder_id": "5" * 64}
        for part in queries.embedding_parts(lake, first):
            ids = pq.read_table(copy / part.path)["frame_id"]
            angles = np.arange(len(ids))[:, None] * np.array([0.1, 0.1]) + (0, np.pi / 2)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(np.cos(angles).astype(np.float16).reshape(-1)), 2)
            path = f"embeddings/second/{part.pack_id}.parquet"
            write_parquet(copy / path, pa.table({"frame_id": ids, "embedding": lists}, schema=embedding_schema(2)))
            parts.append(replace(part, part_id=part.part_id[::-1], encoder_id="5" * 64, path=path, dim=2))
        with record_run(lake, plan_run(stage="embed", version=1, config=told, inputs=[]), RunContext(runner="serial")) as run:
            run.rows("embeddings", parts)
        label = queries.encoder_label(lake, first)
    with open_lake(copy, read_only=True) as lake:
        return copy, read_atlas(lake, encoder=label, dataset=None, most=1000, layout="pca", beside="second")


def test_two_models_show_what_each_finds_nearest(two_models: tuple[Path, Atlas], atlas: Atlas) -> None:
    root, both = two_models
    assert both.frame_ids == atlas.frame_ids
    np.testing.assert_array_equal(both.vectors, atlas.vectors)
    assert both.beside is not None
    assert any(note.startswith("beside it encoder second; of the 12 nearest of a frame the two have ") for note in both.notes)
    with open_lake(root, read_only=True) as lake:
        (frame,) = frames_of(lake, both, [3])
        (alone,) = frames_of(lake, atlas, [3])
        with pytest.raises(ValueError, match="got 'second' beside itself, expected another encoder"):
            read_atlas(lake, encoder="second", dataset=None, most=1000, layout="pca", beside="second")
    assert (frame["near"], alone["near_beside"]) == (alone["near"], ())
    cosines = both.beside.vectors @ both.beside.vectors[3]
    expected = sorted(np.delete(cosines, 3))[-len(frame["near_beside"]) :]
    assert sorted(cosine for _, cosine in frame["near_beside"]) == pytest.approx(expected, abs=0.001)


def test_parts_tell_what_stands_behind_the_points(root: Path, atlas: Atlas) -> None:
    with open_lake(root, read_only=True) as lake:
        parts = dict(all_parts(lake, atlas))
        client = TestClient(make_app(lake, atlas, SECRET))
        for name in ("frames/0", "videos/1", "clusters", "datasets", "nights", "reasons/blurred"):
            assert client.get(f"/{SECRET}/parts/{name}.js").content == part_script(name, parts[name]), name
        missing = ("frames/9999", "frames/-1", "frames/x", "videos/9", "datasets/0-0", "datasets/0-1", "reasons/no", "no", "..%2f..%2fx")
        for name in missing:
            assert client.get(f"/{SECRET}/parts/{name}.js").status_code == 404, name
        assert client.get("/wrong/parts/clusters.js").status_code == 404
        assert client.post("/wrong/similar", content=b"x").status_code == 404
        assert client.post(f"/{SECRET}/similar", content=b"x" * 20_000_001).status_code == 413
        blur = {row["frame_id"]: row["blur"] for row in lake.rows("SELECT frame_id, blur FROM frames")}
        sampled = {row["video_id"]: row["n"] for row in lake.rows("SELECT video_id, count(*) AS n FROM current_frames GROUP BY video_id")}
        (both,) = [compared(lake, atlas, ["set", "none"])]
        fates = lake.rows("SELECT drop_reason, frame_id FROM current_frames WHERE NOT keep")
    assert len(parts) == 3 + len(atlas.frame_ids) + 2 + len({row["drop_reason"] for row in fates})
    for reason in {row["drop_reason"] for row in fates}:
        told, of_reason = parts[f"reasons/{reason}"], {row["frame_id"] for row in fates if row["drop_reason"] == reason}
        assert (told["reason"], told["num"]) == (reason, len(of_reason))
        assert {each["id"] for each in told["pictures"]} <= of_reason
        for each in told["pictures"]:
            assert base64.b64decode(each["jpeg"])[:2] == b"\xff\xd8"
            assert each["second"] in parts[f"videos/{each['place']}"]["seconds"]
    assert any(parts[f"reasons/{row['drop_reason']}"]["pictures"] for row in fates)
    for number, frame_id in enumerate(atlas.frame_ids):
        frame = parts[f"frames/{number}"]
        assert frame["scores"]["blur"] == pytest.approx(blur[frame_id], abs=0.001)
        assert bool(frame["datasets"]) == bool(frame["models"]) == (atlas.colours["dataset"][number] == "in the dataset")
        video = parts[f"videos/{frame['video']}"]
        assert number in video["points"]
        assert len(video["fates"]) == sampled[atlas.videos[frame["video"]]]
        near = dict(frame["near"])
        cosines = atlas.vectors @ atlas.vectors[number]
        assert near == pytest.approx({place: cosines[place] for place in near}, abs=0.001)
        assert min(near.values()) >= np.sort(np.delete(cosines, number))[-len(near)] - 0.001
    levels = parts["clusters"]["levels"]
    assert all(sum(after for _, _, after, _, _ in level) == 8 for level in levels)
    assert [row["num_videos"] for row in parts["nights"]] == [2]
    assert (parts["datasets"], both["both"], both["only"]) == (["set"], 0, [8, 0])
    assert ".mp4" not in json.dumps(parts, default=str)


def test_a_port_that_is_taken_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["atlas", "--lake", str(root), "--port", str(port)]) == 1
    refused = "(Address already in use); give another with --port"
    assert capsys.readouterr().err == f"endoforge: port {port} of 127.0.0.1 cannot be listened on {refused}\n"


def test_positions_are_principal_components() -> None:
    angles = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    plane = np.stack([4 * np.cos(angles), 2 * np.sin(angles)], axis=1)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 2)))[0]
    vectors = (plane @ axes.T + 3).astype(np.float32)
    positions, said = lay_out(vectors, "pca")
    spread = positions.astype(float) * (8, 4)
    np.testing.assert_allclose(np.hypot((spread[:, 0] - 4) / 4, (spread[:, 1] - 2) / 2), 1, atol=0.01)
    assert said.startswith("positions are the first two principal components, 100% of the variance")


def test_points_beyond_the_sample_lie_among_those_that_they_are_like() -> None:
    random = np.random.default_rng(0)
    groups = np.arange(240) % 3
    vectors = (np.eye(3)[groups] + random.normal(scale=0.02, size=(240, 3))).astype(np.float32)
    positions, said = lay_out(vectors, "tsne", num_sample=60)
    assert said.endswith("60 points are laid out so, the others lie among the 5 of these that they are most like")
    middles = np.stack([positions[:60][groups[:60] == group].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(positions[:, None] - middles, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, groups)
    np.testing.assert_array_equal(lay_out(vectors, "tsne", num_sample=60)[0], positions)


def test_the_command_writes_a_folder_once(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "map"
    assert main(["atlas", "--lake", str(root), "--export", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'index.html'}\n"
    told = json.loads((out / "points.js").read_text().removeprefix("const ATLAS = ").removesuffix(";\n"))
    assert told["sql"] is False
    assert len(list((out / "parts" / "frames").iterdir())) == len(told["id"])
    assert len(list((out / "pictures").iterdir())) == len(told["id"]) == pq.read_metadata(out / "points.parquet").num_rows
    assert main(["atlas", "--lake", str(root), "--export", str(out)]) == 1
    assert "is there already; give a new folder" in capsys.readouterr().err
    with open_lake(root, read_only=True) as lake:
        (record,) = lake.rows("SELECT stage, user, host, path FROM exports")
    assert record == {"stage": "export_atlas", "user": pwd.getpwuid(os.getuid()).pw_name, "host": platform.node(), "path": str(out)}


@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_shows_picks_and_chooses_without_a_request_outside(
    two_models: tuple[Path, Atlas], atlas: Atlas, tmp_path: Path, width: int
) -> None:
    root, both = two_models
    named = tuple(HOSTILE if number % 2 else "plain" for number in range(len(atlas.frame_ids)))
    hostile = replace(both, colours={"device": named, **atlas.colours}, notes=(HOSTILE,))
    with open_lake(root) as lake:
        path = export_atlas(Job(lake=lake, runner=make_runner("serial", None)), hostile, tmp_path / "map")
    frames = path.parent / "parts" / "frames"
    for part in frames.iterdir():  # as if lineage and flags said so
        part.write_text(part.read_text().replace('"shard":"', f'"shard":"{HOSTILE}'))
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 800})
        problems, requests = watched(page)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn]", state="attached")
        assert page.locator("#notes li").text_content() == HOSTILE
        boxes = [page.locator(f"#map-{number}").bounding_box() for number in (1, 2)]
        assert boxes[0] is not None
        assert boxes[1] is not None
        (across, down) = (boxes[1][axis] - boxes[0][axis] for axis in ("x", "y"))
        assert (down, across >= boxes[0]["width"]) == (0, True) if width == 1440 else (across, down >= boxes[0]["height"]) == (0, True)
        box = boxes[0]
        page.click("#lasso")
        left, top, right, bottom = box["x"] + 2, box["y"] + 60, box["x"] + box["width"] - 2, box["y"] + box["height"] - 2
        page.mouse.move(left, box["y"] + 2)
        page.mouse.down()
        for x, y in ((right, box["y"] + 2), (right, bottom), (left, bottom), (left, top)):
            page.mouse.move(x, y)
        page.mouse.up()
        assert page.locator("#count").text_content() == f"{len(atlas.frame_ids)} frames chosen"
        statement = page.locator("#sql").input_value()
        for number in (1, 2):
            told = f"{len(atlas.frame_ids)} frames, {len(atlas.frame_ids)} chosen"
            page.wait_for_function("([number, told]) => document.getElementById(`told-${number}`).textContent === told", arg=[number, told])
        page.locator("#thumbs img").first.click()
        page.wait_for_function("document.getElementById('picture').naturalWidth > 0")
        assert atlas.frame_ids[0] in (page.locator("#facts").text_content() or "")
        page.locator("#map-1").focus()
        page.keyboard.press("Escape")
        assert not page.is_visible("#frame")
        page.keyboard.press("Enter")
        assert page.is_visible("#frame")
        page.wait_for_selector("#more svg")
        near = page.locator("#more .two > div")
        assert [near.nth(side).locator(".picture").count() for side in (0, 1)] == [min(12, len(atlas.frame_ids) - 1)] * 2
        assert near.nth(0).locator(".common").count() == near.nth(1).locator(".common").count() > 0
        assert page.evaluate("screen(panes[0], 0).join() !== screen(panes[1], 0).join()")
        page.locator("#model-2").select_option(value="0")
        assert page.evaluate("screen(panes[0], 0)") == pytest.approx(page.evaluate("screen(panes[1], 0)"), abs=30)
        page.locator("#model-2").select_option(label="second")
        shown = page.locator("#facts dd").first.text_content()
        page.locator("#more .picture").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_function("before => document.querySelector('#facts dd').textContent !== before", arg=shown)
        page.evaluate("number => show(number)", atlas.colours["dataset"].index("in the dataset"))
        page.wait_for_function("text => document.getElementById('more').textContent.includes(text)", arg=f"tar {HOSTILE}")
        page.locator("#funnel button", has_text="blurred").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#dropped img")
        assert page.locator("#dropped .picture").count() == 4
        page.locator("#dropped .picture").first.click()
        page.wait_for_selector("#dropped svg .here", state="attached")
        page.locator("#tab-map").focus()
        page.keyboard.press("ArrowRight")
        page.locator("#panel-clusters summary").first.click()
        page.wait_for_selector("#panel-clusters .picture img")
        page.keyboard.press("Escape")
        page.locator("#tab-nights").click()
        assert page.locator("#panel-nights tr").last.locator("td").nth(1).text_content() == "2"  # the first night; exports have nights too
        page.locator("#tab-datasets").click()
        assert "There is one dataset, set." in (page.locator("#panel-datasets p").first.text_content() or "")
        page.locator("#two").click()
        assert not page.is_visible("#map-2")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == []
    assert set(re.findall(r"'([^']+)'", statement)) == set(atlas.frame_ids)
    assert [url for url in requests if not url.startswith(("file://" + str(tmp_path), "data:"))] == []


@pytest.mark.parametrize("width", [390, 1440])
def test_two_datasets_beside_each_other_share_what_is_chosen(root: Path, atlas: Atlas, tmp_path: Path, width: int) -> None:
    held = np.arange(len(atlas.frame_ids)) % 3 == 0
    both = replace(atlas, members={"first": held, "second": ~held | (np.arange(len(held)) == 0)})
    with open_lake(root) as lake:
        path = export_atlas(Job(lake=lake, runner=make_runner("serial", None)), both, tmp_path / "map")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 800})
        problems, _ = watched(page)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn]", state="attached")
        page.click("#two")
        assert [page.locator(f"#only-{number} option:checked").text_content() for number in (1, 2)] == ["in first", "in second"]
        page.evaluate("choose(panes[0], [[-1e4, -1e4], [1e4, -1e4], [1e4, 1e4], [-1e4, 1e4]])")
        for number, (shown, chosen) in enumerate([(held.sum(), held.sum()), ((~held).sum() + 1, 1)], start=1):
            told = f"{shown} frames, {chosen} chosen"
            page.wait_for_function("([number, told]) => document.getElementById(`told-${number}`).textContent === told", arg=[number, told])
        assert set(re.findall(r"'([^']+)'", page.locator("#sql").input_value())) == {
            atlas.frame_ids[place] for place in np.flatnonzero(held)
        }
        page.locator("#only-2").select_option(label="not in first")
        page.wait_for_function("told => document.getElementById('told-2').textContent === told", arg=f"{(~held).sum()} frames, 0 chosen")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = page.evaluate(
            "[1, 2].map(n => document.getElementById(`map-${n}`).getBoundingClientRect()).map(box => [box.width, box.height])"
        )
        assert all(side >= 300 for box in boxes for side in box)
    assert problems == []
