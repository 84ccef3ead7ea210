"""A person's sign-off through the command line, on a lake of phantom videos."""

import json
import os
import platform
import pwd
import re
import shutil
from pathlib import Path

import av
import pytest

from flows.cli.cli import main
from tests.flows.conftest import ODD_NAMES
from warehouse.lake import open_lake


@pytest.fixture(scope="module")
def curated(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("curated")
    for words in (("ingest", archive, "--fps", "4"), ("embed",), ("curate", "--name", "first", "--size", "25")):
        assert main([*map(str, words), "--lake", str(lake), "--runner", "serial"]) == 0
    return lake


@pytest.fixture
def lake(curated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(curated, tmp_path / "lake"))


def run(capsys: pytest.CaptureFixture[str], lake: Path, *words: str) -> tuple[str, str]:
    capsys.readouterr()
    here = ["--runner", "serial"] if words[0] in ("ingest", "embed", "curate") else []
    assert main([words[0], "--lake", str(lake), *here, *words[1:]]) == 0
    printed = capsys.readouterr()
    return printed.out.strip(), printed.err


def rows(lake: Path, statement: str) -> list[dict[str, object]]:
    with open_lake(lake, read_only=True) as opened:
        return opened.rows(statement)


def test_a_sheet_is_drawn_once_and_names_neither_path_nor_patient(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit_id, _ = run(capsys, lake, "privacy-audit", "--sample", "20")
    assert run(capsys, lake, "privacy-audit", "--sample", "20")[0] == audit_id
    assert run(capsys, lake, "privacy-audit", "--sample", "20", "--seed", "1")[0] != audit_id
    page = (lake / "audits" / audit_id / "sheet.html").read_text()
    for word in (str(lake), "patient one", "procédure", ".mp4", "file:"):
        assert word not in page
    frames = rows(lake, f"SELECT frame_id, stratum FROM audit_frames WHERE audit_id = '{audit_id}' ORDER BY position")
    assert [str(frame["frame_id"]) for frame in frames] == re.findall(r'"id": "([^"]+)"', page)
    assert sorted(str(frame["stratum"]) for frame in frames) == ["doubtful"] * 10 + ["random"] * 10
    assert rows(lake, "SELECT count(*) AS n FROM audits") == [{"n": 2}]
    (lake / "audits" / audit_id / "sheet.html").unlink()
    run(capsys, lake, "privacy-audit", "--sample", "20")
    assert (lake / "audits" / audit_id / "sheet.html").read_text() == page


def test_a_clean_sign_off_is_recorded_once_with_its_bound(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not audited: run" in run(capsys, lake, "curate", "--name", "first", "--size", "25")[1]
    audit_id, _ = run(capsys, lake, "privacy-audit", "--sample", "36")
    for _ in range(2):
        printed = run(capsys, lake, "privacy-audit", "--sign-off", audit_id[:8], "--reviewer", "Jane Doe", "--note", "all fine")[1]
        assert "nothing found in 36 frames" in printed
        assert "at most 15.3% of the frames" in printed
    assert rows(lake, "SELECT status, reviewer, note, num_findings FROM audit_status") == [
        {"status": "clean", "reviewer": "Jane Doe", "note": "all fine", "num_findings": 0}
    ]
    assert rows(lake, "SELECT upper_bound_95 > 0.153 AND upper_bound_95 < 0.154 AS ok FROM audit_status") == [{"ok": True}]
    assert rows(lake, "SELECT count(*) AS n FROM audits") == [{"n": 2}]
    printed = run(capsys, lake, "curate", "--name", "first", "--size", "25")[1]
    assert "audited: nothing found" in printed
    assert "; but " not in printed


def test_an_audit_says_what_it_did_not_cover(lake: Path, archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit_id, _ = run(capsys, lake, "privacy-audit", "--sample", "20")
    run(capsys, lake, "privacy-audit", "--sign-off", audit_id, "--reviewer", "Jane Doe")
    run(capsys, lake, "requalify", "--max-hash-distance", "0", "--freeze-motion", "0", "--min-blur", "0")
    run(capsys, lake, "embed")
    printed = run(capsys, lake, "curate", "--name", "more", "--size", "1000")[1]
    assert re.search(r"audited: nothing found .*; but \d+ of its frames were brought back after the sample was drawn", printed)
    assert "looked at for text" not in printed
    run(capsys, lake, "ingest", str(archive / ODD_NAMES[0]), "--text", "off", "--fps", "4")
    run(capsys, lake, "embed")
    printed = run(capsys, lake, "curate", "--name", "unchecked", "--size", "1000")[1]
    (unchecked,) = rows(lake, "SELECT count(*) AS n FROM candidates JOIN frames USING (frame_id) WHERE text_share IS NULL")
    assert int(str(unchecked["n"])) > 0
    assert re.search(r"; but \d+ of its frames were never looked at for text", printed)


def test_found_frames_never_come_back(lake: Path, archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit_id, _ = run(capsys, lake, "privacy-audit", "--sample", "30", "--dataset", "first")
    (before,) = rows(lake, "SELECT count(*) AS n FROM candidates")
    printed = run(capsys, lake, "privacy-audit", "--sign-off", audit_id, "--reviewer", "Jane Doe", "--found", "3", "17")[1]
    found = [str(row["frame_id"]) for row in rows(lake, "SELECT frame_id FROM audit_frames WHERE position IN (3, 17) ORDER BY position")]
    for frame_id in found:
        assert re.search(rf"{frame_id} of file:///.*, which has \d+ other kept frames", printed)
    assert "dataset 'first' was made before: it holds 2 removed frames" in printed
    removed = rows(lake, "SELECT frame_id, reason, source FROM removals ORDER BY ALL")
    assert removed == [{"frame_id": frame_id, "reason": "identified_in_audit", "source": audit_id} for frame_id in sorted(found)]
    assert rows(lake, "SELECT count(*) AS n FROM candidates") == [{"n": int(str(before["n"])) - 2}]
    assert rows(lake, "SELECT num_frames FROM funnel WHERE reason = 'identified_in_audit'") == [{"num_frames": 2}]

    assert "removed: identified_in_audit" in run(capsys, lake, "lineage", found[0])[0]
    printed = run(capsys, lake, "curate", "--name", "second", "--size", "1000")[1]
    assert "not audited" in printed  # what was looked at is the other dataset
    again = rows(lake, "SELECT frame_id FROM shard_frames JOIN datasets USING (dataset_id) WHERE name = 'second'")
    assert len(again) > 25
    assert not set(found) & {str(row["frame_id"]) for row in again}
    for table in ("dedup", "selections"):  # the tree of clusters is the one that was there, with the place that they had in it
        newest = f"SELECT count(DISTINCT frame_id) AS n FROM {table} JOIN datasets d USING ({table_id(table)}) WHERE d.name = 'second'"
        named = f"{newest} AND frame_id IN ('{found[0]}', '{found[1]}')"
        assert rows(lake, named) == [{"n": 0}]
        assert rows(lake, newest) != [{"n": 0}]

    run(capsys, lake, "ingest", str(archive / ODD_NAMES[0]), str(archive / ODD_NAMES[1]), str(archive / ODD_NAMES[2]), "--fps", "8")
    times = {(frame_id.split("-")[0], int(frame_id.split("-")[2])) for frame_id in found}
    for row in rows(lake, "SELECT video_id, pts_us FROM candidates"):
        near = [time for video, time in times if str(row["video_id"]).startswith(video) and abs(int(str(row["pts_us"])) - time) <= 500_000]
        assert near == []


def table_id(table: str) -> str:
    return {"dedup": "dedup_id", "selections": "selection_id"}[table]


def test_a_second_sign_off_takes_no_finding_back_and_no_dataset_that_holds_one_is_clean(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit_id, _ = run(capsys, lake, "privacy-audit", "--sample", "200")
    (known,) = rows(
        lake,
        f"""SELECT min(a.position) AS position FROM audit_frames a JOIN shard_frames USING (frame_id) WHERE audit_id = '{audit_id}'""",
    )
    sign = ("privacy-audit", "--sign-off", audit_id, "--reviewer")
    run(capsys, lake, *sign, "Ann", "--found", str(known["position"]))
    printed = run(capsys, lake, *sign, "Bob")[1]
    assert "1 found in" in printed
    assert "nothing found" not in printed
    status = "SELECT status, reviewer, num_findings, num_sign_offs FROM audit_status"
    told = [{"status": "findings", "reviewer": "Ann, Bob", "num_findings": 1, "num_sign_offs": 2}]
    assert rows(lake, status) == told
    assert "that is recorded already" in run(capsys, lake, *sign, "Ann", "--found", str(known["position"]))[1]
    assert rows(lake, status) == told

    signed = rows(lake, "SELECT reviewer, status, num_findings, user, host FROM sign_offs ORDER BY signed_at")
    here = {"user": pwd.getpwuid(os.getuid()).pw_name, "host": platform.node()}
    assert signed == [
        {"reviewer": "Ann", "status": "findings", "num_findings": 1, **here},
        {"reviewer": "Bob", "status": "clean", "num_findings": 0, **here},
    ]

    (listed,) = json.loads(run(capsys, lake, "datasets", "--format", "json")[0])
    assert (listed["audit"], listed["reviewer"], listed["removed_frames"]) == ("findings (candidates)", "Ann, Bob", 1)
    assert main(["verify", "--lake", str(lake), "--runner", "serial", "first"]) == 1
    assert "holds 1 frames that were removed later" in capsys.readouterr().out
    assert main(["export", "--lake", str(lake), "first", "--out", str(tmp_path / "out"), "--format", "parquet"]) == 1
    printed = run(capsys, lake, "curate", "--name", "second", "--size", "25")[1]
    assert "audited: 1 found" in printed
    assert "it holds" not in printed
    card = (lake / "shards" / "second" / "README.md").read_text()
    assert "People looked (2 sign-offs) through" in card
    assert "1 were found to identify someone and removed" in card
    assert "nothing was found" not in card
    assert {row["name"]: row["audit"] for row in json.loads(run(capsys, lake, "datasets", "--format", "json")[0])} == {
        "first": "findings (candidates)",
        "second": "removed (candidates)",
    }
    assert main(["verify", "--lake", str(lake), "--runner", "serial", "second"]) == 0


def test_a_whole_video_can_go_and_a_further_finding_is_a_further_row(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit_id, _ = run(capsys, lake, "privacy-audit", "--sample", "20")
    sign = ("privacy-audit", "--sign-off", audit_id, "--reviewer", "Jane Doe")
    run(capsys, lake, *sign)
    printed = run(capsys, lake, *sign, "--found", "5", "--remove-videos")[1]
    assert "removed with it" in printed
    (frame,) = rows(lake, f"SELECT frame_id FROM audit_frames WHERE audit_id = '{audit_id}' AND position = 5")
    video = str(frame["frame_id"]).split("-")[0]
    assert rows(lake, f"SELECT count(*) AS n FROM candidates WHERE starts_with(video_id, '{video}')") == [{"n": 0}]
    assert rows(lake, "SELECT count(DISTINCT video_id) AS n FROM candidates") == [{"n": 2}]
    run(capsys, lake, *sign)  # recorded already, and it gives nothing back
    assert rows(lake, "SELECT status FROM audits ORDER BY recorded_at") == [{"status": s} for s in ("open", "clean", "findings")]
    assert rows(lake, "SELECT status, reviewer FROM audit_status") == [{"status": "findings", "reviewer": "Jane Doe"}]
    assert rows(lake, "SELECT count(DISTINCT video_id) AS n FROM candidates") == [{"n": 2}]


def test_what_cannot_be_recorded_is_refused_whole(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit_id, _ = run(capsys, lake, "privacy-audit", "--sample", "20")
    for words, message in (
        (("--sign-off", audit_id, "--reviewer", "J", "--found", "3", "99"), "positions 1 to 20, got 99"),
        (("--sign-off", "zz", "--reviewer", "J"), "'zz' names 0 audits"),
        (("--sample", "20", "--dataset", "nix"), "there is no dataset 'nix'"),
    ):
        assert main(["privacy-audit", "--lake", str(lake), *words]) == 1
        assert message in capsys.readouterr().err
    assert rows(lake, "SELECT status FROM audits") == [{"status": "open"}]
    assert rows(lake, "FROM removals") == []


@pytest.mark.parametrize("words", [("--reviewer", "J"), ("--sign-off", "a"), ("--sign-off", "a", "--reviewer", "J", "--remove-videos")])
def test_half_a_sign_off_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["privacy-audit", "--lake", str(tmp_path), *words])


def test_a_found_frame_is_in_no_later_table_nor_is_its_copy_in_another_file(
    lake: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "films").mkdir()
    remuxed(archive / ODD_NAMES[0], tmp_path / "films" / "copy.mkv")
    run(capsys, lake, "ingest", str(tmp_path / "films"), "--fps", "4")
    run(capsys, lake, "embed")
    audit_id, _ = run(capsys, lake, "privacy-audit", "--sample", "200")
    (copied, *_) = rows(
        lake,
        """SELECT a.position, c.phash FROM audit_frames a JOIN candidates c USING (frame_id)
           WHERE c.phash IN (SELECT phash FROM candidates GROUP BY phash HAVING count(DISTINCT video_id) = 2) ORDER BY a.position""",
    )
    gone = rows(lake, f"SELECT frame_id, video_id FROM candidates WHERE phash = '{copied['phash']}'")
    assert len({row["video_id"] for row in gone}) == 2
    named = ", ".join(f"'{row['frame_id']}'" for row in gone)
    run(capsys, lake, "privacy-audit", "--sign-off", audit_id, "--reviewer", "Jane Doe", "--found", str(copied["position"]))
    assert rows(lake, f"SELECT frame_id FROM candidates WHERE frame_id IN ({named})") == []
    before = {table: held_in(lake, table, named) for table in LATER_TABLES}

    options = ("--size", "1000", "--nested", "20", "--refit", "always", "--dedup-threshold", "1", "--dedup-hash-distance", "0")
    run(capsys, lake, "curate", "--name", "later", *options)
    run(capsys, lake, "dedup", "--dedup-threshold", "0.999")
    assert {table: held_in(lake, table, named) for table in LATER_TABLES} == before
    sets = rows(lake, "SELECT d.name, count(*) AS n FROM datasets d JOIN shard_frames USING (dataset_id) GROUP BY d.name ORDER BY d.name")
    assert [row["name"] for row in sets] == ["first", "later", "later-20"]
    for name in ("later", "later-20"):
        for tar in (lake / "shards" / name).glob("*.tar"):
            data = tar.read_bytes()
            assert not any(str(row["frame_id"]).encode() in data for row in gone)
    run(capsys, lake, "requalify", "--min-blur", "0", "--max-hash-distance", "0")  # no threshold brings it back
    assert rows(lake, f"SELECT frame_id FROM candidates WHERE frame_id IN ({named})") == []


LATER_TABLES = ("similarities", "dedup", "clusters", "selections", "shard_frames")


def held_in(lake: Path, table: str, named: str) -> object:
    """How many rows of a table are of these frames."""
    return rows(lake, f"SELECT count(*) AS n FROM {table} WHERE frame_id IN ({named})")[0]["n"]


def remuxed(source: Path, target: Path) -> None:
    """The same pictures in another container: another file by its hash."""
    with av.open(str(source)) as film, av.open(str(target), "w") as copy:
        (stream,) = film.streams.video
        added = copy.add_stream_from_template(stream)
        for packet in film.demux(stream):
            if packet.dts is not None:
                packet.stream = added
                copy.mux(packet)
