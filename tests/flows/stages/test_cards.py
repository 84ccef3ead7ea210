"""A dataset of several sites, devices and patients that a person has audited: its documents, and a patient who is to be forgotten."""

import base64
import csv
import hashlib
import json
import re
import shutil
import tarfile
from pathlib import Path

import mlcroissant
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from mlcroissant._src.core.constants import EXTRACT_PATH

from flows.cli.cli import main
from tests.flows.conftest import make_archive
from warehouse.forgotten import is_authentic
from warehouse.lake import open_lake

pytestmark = pytest.mark.slow
VIDEOS = ("doe john.mp4", "b.mp4", "c.mp4")
SITES = ("Tromsø | UNN", 'Ward "7"', "Tromsø | UNN")
DEVICES = ("CF-HQ190L: 4K", "内視鏡 <1>", "")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    make_archive(folder / "archive", VIDEOS)
    with (folder / "archive" / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "patient", "site", "device", "procedure", "date"])
        for number, (video, site, device) in enumerate(zip(VIDEOS, SITES, DEVICES, strict=True)):
            writer.writerow([video, f"DOE {number}", site, device, "colonoscopy", f"2024-05-0{number + 1}"])
    lake = folder / "lake"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENDOFORGE_PATIENT_KEY", "a secret of at least sixteen bytes")
        run(lake, "ingest", str(folder / "archive" / "manifest.csv"), "--fps", "4", "--text", "off", "--settle-s", "0")
    run(lake, "embed")
    run(lake, "privacy-audit", "--sample", "40")
    with open_lake(lake, read_only=True) as opened:
        (audit,) = opened.rows("SELECT audit_id FROM audit_status")
    run(lake, "privacy-audit", "--sign-off", str(audit["audit_id"]), "--reviewer", "Jane Roe", "--note", "two looked")
    run(lake, "curate", "--name", "set", "--size", "16", "--images-per-shard", "4", "--min-shards", "2")
    return lake


def run(lake: Path, *words: str) -> None:
    assert main([words[0], "--lake", str(lake), "--runner", "serial", *words[1:]]) == 0


def test_the_card_tells_sites_devices_and_the_audit_and_its_front_matter_is_yaml(lake: Path) -> None:
    card = (lake / "shards" / "set" / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "other"
    mixes = re.findall(r"^\| (Tromsø.*?|Ward.*?|CF.*?|内.*?|colonoscopy|\(not known\)) \| ([\d,]+) \| (\d) \| (\d) \|", text, re.MULTILINE)
    assert {name: (videos, patients) for name, _, videos, patients in mixes} == {
        "Tromsø \\| UNN": ("2", "2"),
        'Ward "7"': ("1", "1"),
        "CF-HQ190L: 4K": ("1", "1"),
        "内視鏡 &lt;1>": ("1", "1"),
        "(not known)": ("1", "1"),
        "colonoscopy": ("3", "3"),
    }
    assert "A person looked through" in text
    assert "nothing was found; at most" in text
    for line in text.splitlines():
        if line.startswith("| Tromsø"):
            assert line.replace("\\|", "").count("|") == 7  # the bar in the name adds no column
    for private in ("doe", "jane", "a secret", str(lake), ".mp4", "2024"):
        assert private not in card.lower()


def test_croissant_is_valid_and_its_records_are_those_of_the_tars(lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # mlcroissant unpacks a tar once for all datasets in which one has its name, those of earlier runs of this test among them
    monkeypatch.setattr("mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH", type(EXTRACT_PATH)(tmp_path))
    folder = lake / "shards" / "set"
    text = (folder / "croissant.json").read_text()
    dataset = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))  # raises where it is not valid
    assert "site: Tromsø | UNN" in json.loads(text)["rai:dataBiases"]
    for private in ("doe", "jane", ".mp4", str(lake).lower()):
        assert private not in text.lower()
    with open_lake(lake, read_only=True) as opened:
        expected = [row["frame_id"] for row in opened.rows("SELECT frame_id FROM shard_frames ORDER BY shard, position")]
    assert [row["frames/frame_id"].decode() for row in dataset.records("frames")] == expected
    pictures = {row["images_by_frame/frame_id"].decode(): row["images_by_frame/image"] for row in dataset.records("images_by_frame")}
    assert sorted(pictures) == sorted(expected)
    assert all(min(picture.size) > 0 for picture in pictures.values())


def test_nothing_of_a_forgotten_patient_is_left_and_it_does_not_come_in_again(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENDOFORGE_PATIENT_KEY", "a secret of at least sixteen bytes")
    manifest = lake.parent / "archive" / "manifest.csv"
    lake = Path(shutil.copytree(lake, tmp_path / "lake"))
    with open_lake(lake, read_only=True) as opened:
        (video,) = opened.rows(
            "SELECT video_id, uri, path FROM videos JOIN packs USING (video_id) WHERE uri LIKE '%b.mp4' AND path NOT LIKE '%spare%'"
        )
        own = {
            row["sha256"]
            for row in opened.rows("SELECT sha256 FROM frames WHERE video_id = $1 AND sha256 IS NOT NULL", [video["video_id"]])
        }
        (audit,) = opened.rows("SELECT DISTINCT sheet FROM audits")
        others = opened.rows("SELECT count(*) AS n FROM current_frames WHERE keep AND video_id <> $1", [video["video_id"]])
    assert own & jpegs_below(lake), "the search finds what is there"
    assert main(["backup", str(tmp_path / "backup"), "--lake", str(lake)]) == 0
    capsys.readouterr()
    asked = ("forget", "--lake", str(lake), "--patient", "DOE 1")
    assert main([*asked, "--dry-run"]) == 0
    assert "dataset set holds pictures of them" in capsys.readouterr().err
    assert main([*asked, "--requested-by", "letter 17"]) == 0
    said = capsys.readouterr().err
    assert "dataset set-r2 stands in for one that was withdrawn" in said
    assert "every file of the lake was searched for their ids and places, and none has them" in said
    assert main(["backup", str(tmp_path / "backup"), "--lake", str(lake)]) == 0
    for root in (lake, tmp_path / "backup"):
        assert not own & jpegs_below(root)
        assert not (root / audit["sheet"]).exists()
        assert not list(root.rglob(f"*{video['video_id'][:16]}*"))
        for path in root.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert video["video_id"][:16].encode() not in content, path
                assert b"b.mp4" not in content, path
    assert main(["verify", "--lake", str(lake), "--runner", "serial", "set-r2"]) == 0
    with open_lake(lake, read_only=True) as opened:
        assert opened.rows("SELECT count(*) AS n FROM current_frames WHERE keep") == others
    assert main(["verify", "--lake", str(lake), "--runner", "serial", "set"]) == 1
    assert "dataset 'set' was withdrawn, because what it held was forgotten; 'set-r2' stands in for it" in capsys.readouterr().err
    run(lake, "ingest", str(manifest), "--fps", "4", "--text", "off", "--settle-s", "0")
    run(lake, "ingest", str(manifest.parent / "b.mp4"), "--fps", "4", "--text", "off", "--settle-s", "0")
    assert "1 more files are of videos or patients that were forgotten, and are left out" in capsys.readouterr().err
    with open_lake(lake, read_only=True) as opened:
        assert (
            opened.rows("SELECT 1 FROM videos WHERE video_id = $1 UNION SELECT 1 FROM files WHERE video_id = $1", [video["video_id"]]) == []
        )
    (record,) = (lake / "forgotten").glob("*.json")
    assert is_authentic(lake, record)
    record.write_text(record.read_text().replace("letter 17", "letter 18"))
    assert not is_authentic(lake, record)


def jpegs_below(root: Path) -> set[str]:
    """SHA-256 of every JPEG in a file of a folder: in its bytes, in base64 on a page, or in a cell of a table."""
    found = set()
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            cells = [
                cell for name in table.column_names if pa.types.is_binary(table[name].type) for cell in table[name].to_pylist() if cell
            ]
        elif path.suffix == ".html":
            cells = [base64.b64decode(text) for text in re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", path.read_text())]
        elif path.suffix == ".tar":
            with tarfile.open(path) as tar:
                cells = [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]  # type: ignore[union-attr]
        else:
            cells = [path.read_bytes()]
        found |= {hashlib.sha256(cell).hexdigest() for cell in cells}
    return found
