"""The documents of a dataset from several sites and devices that a person has audited: valid, complete, and free of names."""

import csv
import json
import re
from pathlib import Path

import mlcroissant
import pytest
import yaml
from mlcroissant._src.core.constants import EXTRACT_PATH

from flows.cli.cli import main
from tests.flows.conftest import make_archive
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
