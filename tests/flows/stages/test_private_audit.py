"""From a doubtful verdict to a person's decision: private packs, quarantine, lifted masks, restored frames and deletion."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from curation.packs.pack import read_frame
from flows.cli.cli import main
from tests.flows.conftest import kill_when
from warehouse.lake import open_lake

WIDTH, HEIGHT = 384, 288
NUM_ROOM, NUM_MARKED = 3, 6


def tissue(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    waves = cv2.resize(rng.normal(0, 1, (HEIGHT // 16, WIDTH // 16)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    waves = waves + cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1.0)
    return np.clip(np.stack([165 + 25 * waves, 90 + 18 * waves, 70 + 14 * waves], axis=2), 0, 255).astype(np.uint8)


def marked(seed: int) -> np.ndarray:
    """Tissue with marks that look like text, stand still and cannot be read: letters on their side."""
    letters = np.zeros((HEIGHT, HEIGHT), np.uint8)
    for number, line in enumerate(("QWRGK SZFP", "JKRB EQGS2")):
        cv2.putText(letters, line, (20, 110 + 60 * number), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 2, cv2.LINE_AA)
    marks = np.pad(np.rot90(letters), ((0, 0), (40, WIDTH - HEIGHT - 40)))
    return np.asarray(np.maximum(tissue(seed), marks[:, :, None]))


def room(seed: int) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), (110, 115, 110), np.uint8)
    rng = np.random.default_rng(seed)
    for _ in range(6):
        x, y = rng.integers(20, 300), rng.integers(20, 200)
        picture[y : y + 70, x : x + 80] = rng.choice([(40, 90, 160), (60, 140, 90), (220, 220, 225)])
    return picture


def film(path: Path, pictures: list[np.ndarray]) -> Path:
    """One picture a second, every second one a keyframe."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", {"crf": "14", "g": "2"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("private videos")
    film(folder / "marked.mp4", [marked(seed) for seed in range(NUM_MARKED)])
    film(folder / "room.mp4", [*(room(seed) for seed in range(NUM_ROOM)), tissue(100), tissue(101)])
    film(folder / "plain.mp4", [tissue(seed) for seed in range(200, 206)])
    return folder


@pytest.fixture(scope="module")
def ingested(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A lake, and what ingest printed."""
    lake = tmp_path_factory.mktemp("private lake")
    words = [sys.executable, "-m", "flows.cli.cli", "ingest", str(videos), "--lake", str(lake), "--runner", "serial"]
    before = os.umask(0o077)
    try:
        done = subprocess.run([*words, "--out-of-body-window-s", "0"], capture_output=True, text=True, check=True)
    finally:
        os.umask(before)
    return lake, done.stderr + done.stdout


@pytest.fixture
def lake(ingested: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(ingested[0], tmp_path / "lake"))


def rows(lake: Path, statement: str) -> list[dict[str, object]]:
    with open_lake(lake, read_only=True) as opened:
        return opened.rows(statement)


def endoforge(lake: Path, command: str, *words: object) -> None:
    assert main([command, "--lake", str(lake), *map(str, words), "--runner", "serial"]) == 0


def drawn(lake: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    endoforge(lake, "privacy-audit", "--private")
    return capsys.readouterr().out.strip()


def private_jpegs(lake: Path) -> dict[str, bytes]:
    """The private pictures by frame id, as the table says where they lie."""
    found = rows(lake, "SELECT frame_id, path, byte_offset, byte_size FROM private_frames")
    return {
        str(row["frame_id"]): read_frame(lake / str(row["path"]), int(str(row["byte_offset"])), int(str(row["byte_size"]))) for row in found
    }


def positions(lake: Path, audit_id: str, why: str) -> list[int]:
    found = rows(
        lake,
        f"""SELECT position FROM private_audit_frames JOIN private_frames USING (frame_id)
            WHERE audit_id = '{audit_id}' AND why = '{why}' ORDER BY position""",
    )
    return [int(str(row["position"])) for row in found]


def public_bytes(lake: Path) -> dict[Path, bytes]:
    """Every file of the lake but the private packs and pages, and the pictures inside of pages as they are."""
    return {
        path: path.read_bytes()
        for path in lake.rglob("*")
        if path.is_file() and not path.name.endswith(".private.tar") and path.name != "private.html"
    }


def assert_nowhere_public(lake: Path, jpegs: dict[str, bytes]) -> None:
    import base64

    for path, content in public_bytes(lake).items():
        for frame_id, jpeg in jpegs.items():
            middle = jpeg[len(jpeg) // 2 :][:96]  # the header of a JPEG is alike in all
            assert middle not in content, (path, frame_id)
            assert base64.b64encode(middle[: 3 * (len(middle) // 3)])[4:-4] not in content, (path, frame_id)
    previews = rows(lake, "SELECT jpeg FROM previews")
    assert not {jpeg for jpeg in jpegs.values()} & {row["jpeg"] for row in previews}


def test_a_video_under_doubtful_boxes_is_flagged_and_waits_in_quarantine(ingested: tuple[Path, str]) -> None:
    lake, printed = ingested
    outside, flagged = rows(lake, "FROM flagged_videos ORDER BY flag")
    assert (outside["flag"], outside["num_frames"], outside["num_waiting"], outside["is_audited"]) == (
        "out of body",
        NUM_ROOM,
        NUM_ROOM,
        False,
    )
    assert (flagged["flag"], flagged["num_frames"], flagged["num_waiting"], flagged["is_audited"]) == (
        "text",
        NUM_MARKED,
        NUM_MARKED,
        False,
    )
    assert str(outside["uri"]).endswith("room.mp4")
    assert str(flagged["uri"]).endswith("marked.mp4")
    frames = rows(lake, "SELECT f.*, v.warning FROM frames f JOIN videos v USING (video_id) WHERE uri LIKE '%marked.mp4' ORDER BY pts_us")
    assert [row["drop_reason"] for row in frames] == ["text_unaudited"] * NUM_MARKED
    assert all(row["pack_id"] is None for row in frames)
    shares = [float(str(row["text_share"])) for row in frames]
    assert float(str(flagged["share"])) == pytest.approx(sum(shares) / len(shares), rel=1e-5)
    (warning,) = {row["warning"] for row in frames}
    assert re.search(r"(^|; )text: boxes hide ", str(warning))
    assert "marked.mp4 (boxes hide" in printed
    assert "room.mp4 (60% dropped as out of body" in printed
    (warning,) = rows(lake, "SELECT warning FROM videos WHERE uri LIKE '%room.mp4'")
    assert str(warning["warning"]).startswith("out of body: ")
    assert "privacy-audit --lake" in printed
    assert "plain.mp4 (" not in printed


def test_private_packs_can_be_read_by_their_owner_alone(ingested: tuple[Path, str], videos: Path, tmp_path: Path) -> None:
    packs = list(ingested[0].rglob("*.private.tar"))
    assert [pack.stat().st_mode & 0o777 for pack in packs] == [0o600, 0o600]
    before = os.umask(0o022)
    try:
        endoforge(tmp_path / "open", "ingest", videos / "marked.mp4")
    finally:
        os.umask(before)
    (pack,) = (tmp_path / "open").rglob("*.private.tar")
    assert pack.stat().st_mode & 0o777 == 0o600
    with tarfile.open(pack) as tar:
        assert len(tar.getnames()) == NUM_MARKED


def test_nothing_private_is_kept_on_request(videos: Path, tmp_path: Path) -> None:
    endoforge(tmp_path / "lake", "ingest", videos / "marked.mp4", "--no-store-private")
    assert not list(tmp_path.rglob("*.private.tar"))
    assert rows(tmp_path / "lake", "FROM private_frames") == []
    kept = rows(tmp_path / "lake", "SELECT text_share FROM candidates JOIN frames USING (frame_id) WHERE text_share > 0")
    assert len(kept) == NUM_MARKED  # masked, for nobody could look
    assert len(rows(tmp_path / "lake", "FROM flagged_videos")) == 1


def test_a_lifted_mask_leads_to_shards_with_the_private_picture_and_the_private_copy_goes(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jpegs = private_jpegs(lake)
    endoforge(lake, "embed")
    endoforge(lake, "curate", "--name", "before", "--size", 50)
    assert_nowhere_public(lake, jpegs)
    audit_id = drawn(lake, capsys)
    page = lake / "audits" / audit_id / "private.html"
    assert page.stat().st_mode & 0o777 == 0o600
    assert "Private." in page.read_text()
    assert_nowhere_public(lake, jpegs)
    lifted = positions(lake, audit_id, "mask")
    restored = positions(lake, audit_id, "out_of_body")[:1]
    words = ("--private", "--sign-off", audit_id, "--reviewer", "Jane Doe", "--lift", *lifted[:4], *restored, "--restore", *restored)
    endoforge(lake, "privacy-audit", *words)
    capsys.readouterr()
    endoforge(lake, "privacy-audit", *words)  # typed again it changes nothing
    assert "recorded" in capsys.readouterr().err
    decisions = rows(
        lake, "SELECT decision, count(*) AS n, any_value(reviewer) AS who FROM private_decisions GROUP BY ALL ORDER BY decision"
    )
    assert [(row["decision"], row["n"], row["who"]) for row in decisions] == [
        ("confirmed", NUM_ROOM - 1, "Jane Doe"),
        ("lifted", 4, "Jane Doe"),
        ("released", NUM_MARKED - 4, "Jane Doe"),
        ("restored", 1, "Jane Doe"),
    ]
    assert not page.exists()
    assert not list(lake.rglob("*.private.tar"))  # every picture of it is decided
    assert rows(lake, "SELECT DISTINCT is_audited FROM flagged_videos") == [{"is_audited": True}]
    endoforge(lake, "embed")
    endoforge(lake, "curate", "--name", "after", "--size", 50)
    endoforge(lake, "verify", "after")
    endoforge(lake, "verify", "before")
    came_back = rows(
        lake,
        """SELECT d.frame_id, d.decision, c.sha256, h.path, s.byte_offset, s.byte_size, f.text_share, f.unconfirmed_share
           FROM private_decisions d JOIN candidates c ON c.frame_id = d.new_frame_id JOIN frames f ON f.frame_id = c.frame_id
           JOIN shard_frames s ON s.frame_id = c.frame_id JOIN shards h USING (shard) WHERE d.decision IN ('lifted', 'restored')""",
    )
    assert len(came_back) == 5
    for row in came_back:
        jpeg = read_frame(lake / str(row["path"]), int(str(row["byte_offset"])), int(str(row["byte_size"])))
        assert jpeg == jpegs[str(row["frame_id"])], row["decision"]
        assert (row["text_share"], row["unconfirmed_share"]) == (0, 0)
    released = rows(
        lake,
        """SELECT d.frame_id, f.text_share, f.text_boxes, p.path, f.byte_offset, f.byte_size FROM private_decisions d
           JOIN candidates c ON c.frame_id = d.new_frame_id JOIN frames f ON f.frame_id = c.frame_id JOIN packs p ON p.pack_id = f.pack_id
           WHERE d.decision = 'released'""",
    )
    assert len(released) == NUM_MARKED - 4
    for row in released:  # with its mask
        jpeg = read_frame(lake / str(row["path"]), int(str(row["byte_offset"])), int(str(row["byte_size"])))
        picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE))
        assert float(str(row["text_share"])) > 0.05
        assert (picture < 12).mean() > 0.8 * float(str(row["text_share"]))
    gone = {name: jpeg for name, jpeg in jpegs.items() if name not in {str(row["frame_id"]) for row in came_back}}
    assert_nowhere_public(lake, gone)
    # by these thresholds nothing comes or goes, and none returns that was confirmed
    before = rows(lake, "SELECT frame_id FROM candidates ORDER BY frame_id")
    endoforge(lake, "requalify")
    assert rows(lake, "SELECT frame_id FROM candidates ORDER BY frame_id") == before
    endoforge(lake, "requalify", "--min-blur", 0, "--max-out-of-body", 1, "--max-hash-distance", 0, "--freeze-motion", 0)
    assert rows(lake, "SELECT frame_id FROM current_frames WHERE NOT keep AND drop_reason <> 'out_of_body'") == []
    assert rows(lake, "SELECT count(*) AS n FROM current_frames WHERE drop_reason = 'out_of_body'") == [{"n": NUM_ROOM - 1}]
    # an audit of frames in use can remove what came back
    (victim,) = rows(lake, "SELECT d.new_frame_id AS id FROM private_decisions d WHERE d.decision = 'restored'")
    capsys.readouterr()
    endoforge(lake, "privacy-audit", "--sample", 50)
    usual = capsys.readouterr().out.strip()
    (place,) = rows(lake, f"SELECT position FROM audit_frames WHERE audit_id = '{usual}' AND frame_id = '{victim['id']}'")
    endoforge(lake, "privacy-audit", "--sign-off", usual, "--reviewer", "Jane Doe", "--found", place["position"])
    assert rows(lake, f"SELECT 1 FROM candidates WHERE frame_id = '{victim['id']}'") == []
    assert rows(lake, f"SELECT drop_reason FROM current_frames WHERE frame_id = '{victim['id']}'") == [
        {"drop_reason": "identified_in_audit"}
    ]


def test_a_whole_video_is_decided_by_one_picture_and_thresholds_still_count(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    endoforge(lake, "privacy-audit", "--private", "--sample", 2)
    audit_id = capsys.readouterr().out.strip()
    shown = {why: positions(lake, audit_id, why) for why in ("mask", "out_of_body")}
    words = [word for why, name in (("mask", "--lift"), ("out_of_body", "--restore")) if shown[why] for word in (name, *shown[why])]
    endoforge(lake, "privacy-audit", "--private", "--sign-off", audit_id, "--reviewer", "J", "--whole-video", *words)
    assert rows(lake, "SELECT count(*) AS n FROM private_decisions") == [{"n": NUM_ROOM + NUM_MARKED}]
    assert rows(lake, "SELECT 1 FROM flagged_videos WHERE num_waiting > 0") == []
    expected = {"mask": NUM_MARKED if shown["mask"] else 0, "out_of_body": NUM_ROOM if shown["out_of_body"] else 0}
    came_back = rows(
        lake,
        "SELECT count(*) AS n FROM private_decisions d JOIN private_frames USING (frame_id) WHERE decision IN ('lifted', 'restored')",
    )
    assert came_back == [{"n": sum(expected.values())}]
    assert not list(lake.rglob("*.private.tar"))


def test_pictures_can_be_deleted_unseen_and_no_ingest_brings_them_again(lake: Path, videos: Path) -> None:
    jpegs = private_jpegs(lake)
    endoforge(lake, "privacy-audit", "--purge-private", "--older-than-days", 1)
    assert private_jpegs(lake) == jpegs  # none is that old
    orphan = next(lake.rglob("*.private.tar")).with_name("killed.private.tar")
    orphan.write_bytes(b"of an ingest that was killed")
    endoforge(lake, "privacy-audit", "--purge-private")
    assert not list(lake.rglob("*.private.tar"))
    endoforge(lake, "ingest", videos, "--out-of-body-window-s", 0)
    assert not list(lake.rglob("*.private.tar"))
    decisions = rows(lake, "SELECT DISTINCT decision FROM private_decisions")
    assert decisions == [{"decision": "purged"}]
    assert rows(lake, "SELECT count(*) AS n FROM private_frames") == [{"n": len(jpegs)}]
    assert main(["privacy-audit", "--lake", str(lake), "--private"]) == 0  # says that nothing waits


def test_a_decided_picture_is_overwritten_while_others_of_its_pack_wait(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jpegs = private_jpegs(lake)
    capsys.readouterr()
    endoforge(lake, "privacy-audit", "--private", "--sample", 2)
    audit_id = capsys.readouterr().out.strip()
    endoforge(lake, "privacy-audit", "--private", "--sign-off", audit_id, "--reviewer", "J")
    now = private_jpegs(lake)
    decided = {str(row["frame_id"]) for row in rows(lake, "SELECT frame_id FROM private_decisions")}
    assert len(decided) == 2
    for frame_id, jpeg in now.items():
        assert jpeg == (bytes(len(jpeg)) if frame_id in decided else jpegs[frame_id])
    packs = [pack.read_bytes() for pack in lake.rglob("*.private.tar")]
    assert packs
    assert not any(jpegs[frame_id][-400:] in pack for frame_id in decided for pack in packs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lift", "1"), "without --private --sign-off"),
        (("--private", "--found", "1"), "leave one out"),
        (("--purge-private", "--private"), "expected it alone"),
        (("--older-than-days", "3"), "with --purge-private"),
    ],
)
def test_decisions_that_make_no_sense_are_refused(
    lake: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["privacy-audit", "--lake", str(lake), *words])
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_wrong_numbers_and_a_second_opinion_are_refused(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit_id = drawn(lake, capsys)
    sign = ["privacy-audit", "--lake", str(lake), "--private", "--sign-off", audit_id, "--reviewer", "J"]
    outside, mask = positions(lake, audit_id, "out_of_body")[0], positions(lake, audit_id, "mask")[0]
    for words, said in (
        (("--lift", "999"), "positions 1 to 9"),
        (("--lift", str(outside)), "was dropped as out of body"),
        (("--restore", str(mask)), "not dropped as out of body"),
    ):
        assert main([*sign, *words]) == 1
        assert said in capsys.readouterr().err
    assert rows(lake, "FROM private_decisions") == []
    assert main(sign) == 0
    assert main([*sign, "--restore", str(outside)]) == 1
    assert "another outcome" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sign_off_killed_at_any_moment_is_finished_by_the_same_command(ingested: tuple[Path, str], tmp_path: Path) -> None:
    """Killed as soon as the pack is there, and after the commit before the deletion: then all is as after a sign-off in one go."""
    source = ingested[0]
    work = Path(shutil.copytree(source, tmp_path / "first"))
    assert main(["privacy-audit", "--lake", str(work), "--private"]) == 0
    (audit,) = rows(work, "SELECT audit_id FROM private_audits")
    audit_id = str(audit["audit_id"])
    lifted = positions(work, audit_id, "mask")

    def command(lake: Path) -> list[str]:
        words = ["privacy-audit", "--lake", str(lake), "--private", "--sign-off", audit_id, "--reviewer", "J", "--lift"]
        return [*words, *map(str, lifted)]

    def restored(lake: Path) -> bool:
        return any(lake.rglob("*.restored-1.tar"))

    def committed(lake: Path) -> Callable[[], bool]:
        tables = lake / "tables" / "main" / "private_decisions"
        return lambda: tables.exists() and any(tables.iterdir())

    whole = Path(shutil.copytree(work, tmp_path / "whole"))
    assert main(command(whole)) == 0
    told = "SELECT frame_id, keep, sha256, byte_offset FROM current_frames ORDER BY frame_id"
    for name, moment in (("copied", lambda lake: lambda: restored(lake)), ("committed", committed)):
        lake = Path(shutil.copytree(work, tmp_path / name))
        assert kill_when(command(lake), moment(lake)), name
        frames = rows(lake, told)  # a consistent state: all decided, or none
        assert frames in (rows(work, told), rows(whole, told)), name
        if frames == rows(work, told):
            assert list(lake.rglob("*.private.tar")), name
        assert main(command(lake)) == 0
        assert rows(lake, told) == rows(whole, told), name
        assert not list(lake.rglob("*.private.tar")), name
        assert not list(lake.rglob("private.html")), name
