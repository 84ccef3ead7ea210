"""Labels that come back, in every format that is read."""

import csv
import io
import json
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from curation.labelling.chosen import ChosenFrame, LabelledFrame, write_chosen, write_labelled
from curation.labelling.class_names import check_classes
from curation.labelling.cvat import write_cvat
from curation.labelling.given import GivenLabels, read_given
from curation.labelling.label_studio import write_label_studio
from evaluation.tasks import resolve_task

A, B, C = "0a1b2c3d4e5f6071-e5357911-00001400000", "0a1b2c3d4e5f6071-e5357911-audited-00002000000", "ff1b2c3d4e5f6071-e5357911-00000000000"


def frame(position: int, frame_id: str) -> ChosenFrame:
    told = {"pts_us": 1_400_000, "cluster_id": 7, "reason": "typical", "score": 0.9, "width": 320, "height": 256}
    return ChosenFrame(position=position, frame_id=frame_id, video_id=frame_id[:16], group=f"patient {frame_id[0]}", **told)  # type: ignore[arg-type]


FRAMES = [frame(1, A), frame(2, B), frame(3, C)]


def picture(frame_id: str) -> bytes:
    return b"\xff\xd8" + frame_id.encode()


def filled(folder: Path, labels: dict[str, str], *, delimiter: str = ",") -> Path:
    """The table that was written, with some labels, as a spreadsheet saves it."""
    write_chosen(folder, FRAMES, picture)
    rows = list(csv.DictReader(io.StringIO((folder / "labels.csv").read_text())))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows({**row, "label": labels.get(row["frame_id"], "")} for row in rows)
    path = folder / "filled.csv"
    path.write_text(text.getvalue(), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_our_table_comes_back_from_a_spreadsheet(tmp_path: Path, delimiter: str) -> None:
    path = filled(tmp_path, {A: " polyp ", B: "-"}, delimiter=delimiter)
    assert read_given([path]) == GivenLabels(labels={A: "polyp"}, unusable=(B,), num_open=1)


def test_label_studio_gives_back_the_tasks_that_it_got(tmp_path: Path) -> None:
    write_label_studio(tmp_path, FRAMES, ["polyp", "a & b"], folder_name="round 1")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [sorted(task) for task in tasks] == [["data"]] * 3
    assert tasks[0]["data"]["image"] == f"/data/local-files/?d=round%201/images/00001_{A}.jpg"
    view = ElementTree.parse(tmp_path / "config.xml").getroot()
    (choices,) = view.findall("Choices")
    assert (choices.get("name"), choices.get("toName"), view.find("Image").get("value")) == ("label", "image", "$image")  # type: ignore[union-attr]
    assert [choice.get("value") for choice in choices] == ["polyp", "a & b"]
    said = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": ["a & b"]}}
    tasks[0]["annotations"] = [{"id": 1, "was_cancelled": False, "result": [said]}, {"id": 2, "was_cancelled": True, "result": []}]
    tasks[1]["annotations"] = [{"id": 3, "was_cancelled": True, "result": []}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert read_given([tmp_path / "export.json"]) == GivenLabels(labels={A: "a & b"}, unusable=(B,), num_open=1)


def test_label_studios_short_forms_name_pictures_that_were_uploaded(tmp_path: Path) -> None:
    (tmp_path / "min.json").write_text(json.dumps([{"image": f"/data/upload/1/1a2b3c4d-00001_{A}.jpg", "id": 1, "label": "polyp"}]))
    (tmp_path / "export.csv").write_text(f"annotator,id,image,label\n1,2,/data/local-files/?d=x%20y/images/00002_{B}.jpg,normal\n")
    assert read_given([tmp_path / "min.json", tmp_path / "export.csv"]).labels == {A: "polyp", B: "normal"}


def test_cvat_gives_back_the_images_that_it_got(tmp_path: Path) -> None:
    write_cvat(tmp_path, FRAMES, ["polyp", "a & b"], name="round", read_picture=picture)
    assert json.loads((tmp_path / "labels.json").read_text())[0] == {"name": "polyp", "type": "tag", "attributes": []}
    with zipfile.ZipFile(tmp_path / "dataset.zip") as archive:
        assert archive.read(f"images/00003_{C}.jpg") == picture(C)
        root = ElementTree.fromstring(archive.read("annotations.xml"))
    assert (root.findtext("version"), root.findtext("meta/task/size"), root.findtext("meta/task/mode")) == ("1.1", "3", "annotation")
    assert [label.findtext("name") for label in root.findall("meta/task/labels/label")] == ["polyp", "a & b"]
    names = [image.get("name") for image in root.findall("image")]
    assert names == sorted(names, key=str)
    with pytest.raises(ValueError, match="no label for any of its 3 frames"):
        read_given([tmp_path / "dataset.zip"])
    ElementTree.SubElement(root.findall("image")[1], "tag", label="a & b", source="manual")
    (tmp_path / "annotations.xml").write_bytes(ElementTree.tostring(root))
    assert read_given([tmp_path / "annotations.xml"]).labels == {B: "a & b"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", f"frame_id,label\n{A},polyp\n{A},normal\n", "already; give each frame one label"),
        ("a.csv", f'frame_id,label\n{A},"{{""choices"": [""a"", ""b""]}}"\n', "the labels 'a' and 'b'"),
        ("a.csv", f"frame_id,label\n{A},\n", "no label for any of its 1 frames"),
        ("a.csv", f"frame_id,label\n{A},=1+1\n", "runs as a formula; give it another first character than ="),
        ("a.csv", f"frame_id,label\n{A},-polyp\n", "runs as a formula"),
        ("a.csv", f'frame_id,label\n{A},"a\nb"\n', "has a control character"),
        ("a.csv", f'frame_id,label\n{A},"{"x" * 200_000}"\n', "a.csv cannot be read .field larger"),
        ("a.json", json.dumps([{"image": f"00001_{A}.jpg", "label": [{"rectanglelabels": ["a"]}]}]), "which is no choice"),
        ("a.json", json.dumps([{"image": f"00001_{A}.jpg", "finding": "a"}]), "no label for any of its 1 frames"),
        ("a.json", json.dumps([{"data": "x"}]), "task 1 has the data 'x', expected an object"),
        ("a.json", json.dumps([{"data": {"frame_id": A}, "annotations": [{"result": 3}]}]), "task 1 has '3', expected a list"),
        ("a.json", json.dumps([{"data": {"frame_id": A}, "annotations": [{"result": [{"value": {"x": 1}}]}]}]), "none of them is a choice"),
        ("a.json", "[" * 200_000, "a.json cannot be read"),
        ("a.xml", f'<annotations><image name="00001_{A}.jpg"><box label="a"/></image></annotations>', "has shapes .box. and no tag"),
        ("a.csv", "picture,label\nx,polyp\n", "it needs label, and frame_id, path or image"),
        ("a.csv", "path,label\nimages/other.jpg,polyp\n", "keep the names of its images"),
        ("a.json", "{}", "no list of tasks"),
        ("a.json", "no", "is no JSON"),
        ("a.xml", "<!DOCTYPE x [<!ENTITY y 'z'>]><annotations/>", "declares a document type"),
        ("a.xml", "<annotations><track/></annotations>", "not for video"),
        (
            "a.xml",
            f'<annotations><image name="00001_{A}.jpg"><tag label="a"/><tag label="b"/></image></annotations>',
            "the labels 'a' and 'b'",
        ),
        ("a.zip", "no", "no zip with annotations.xml"),
        ("a.txt", "", "give .csv, .json"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_given([tmp_path / name])
    with pytest.raises(FileNotFoundError, match="is no file"):
        read_given([tmp_path / "absent.csv"])


def test_labels_have_one_spelling_and_empty_rows_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"frame_id,label\n{A},Polyp\n{B},polyp\n,\n")
    (tmp_path / "b.json").write_text(json.dumps([{"image": f"00003_{C}.jpg", "label": ["polyp"]}]))
    (tmp_path / "c.json").write_text(
        json.dumps([{"data": {"frame_id": A}, "annotations": [{"result": None}]}, {"image": f"00003_{C}.jpg"}])
    )
    given = read_given([tmp_path / "a.csv", tmp_path / "b.json"])
    assert given == GivenLabels(labels=dict.fromkeys((A, B, C), "polyp"), unusable=(), num_open=0, respelled={"Polyp": "polyp"})
    with pytest.raises(ValueError, match="no label for any of its 2 frames"):
        read_given([tmp_path / "c.json"])


def test_a_zip_that_is_locked_or_damaged_is_said(tmp_path: Path) -> None:
    write_cvat(tmp_path, FRAMES, ["polyp"], name="round", read_picture=picture)
    whole = (tmp_path / "dataset.zip").read_bytes()
    place = whole.rindex(b"PK\x01\x02")
    locked = bytearray(whole)
    locked[place + 8] |= 1  # the flag of a member that needs a password
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    unpacked = bytearray(whole)
    unpacked[place + 10] = 8  # says that it is deflated, which it is not
    (tmp_path / "damaged.zip").write_bytes(bytes(unpacked))
    large = bytearray(whole)
    large[place + 24 : place + 28] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "large.zip").write_bytes(bytes(large))
    for name, message in (("locked.zip", "password"), ("damaged.zip", "damaged.zip cannot be read"), ("large.zip", "1,073,741,824 bytes")):
        with pytest.raises(ValueError, match=message):
            read_given([tmp_path / name])


def test_classes_are_names() -> None:
    assert check_classes([" polyp ", "-1", "1.5", "a & b"]) == ("polyp", "-1", "1.5", "a & b")
    for classes in (["@sum"], ["+1"], ["\uff1dx"], ["a\tb"], ["-"], [""], ["Polyp", "polyp"], ["-1+1"]):
        with pytest.raises(ValueError, match="--classes"):
            check_classes(classes)


def test_labels_are_an_evaluation_set(tmp_path: Path) -> None:
    frames = [
        LabelledFrame(frame_id=f"{n:016x}-e5357911-00000000000", video_id=f"{n}", group=f"patient {n % 6}", pts_us=0, label="ab"[n % 2])
        for n in range(12)
    ]
    write_labelled(tmp_path, frames, picture)
    task = resolve_task("auto", tmp_path)
    assert (task.kind, task.classes, {item.group for item in task.items}) == (
        "classification",
        ("a", "b"),
        {f"patient {n}" for n in range(6)},
    )
    task.validate()
    assert all(Path(item.path).read_bytes().startswith(b"\xff\xd8") for item in task.items)
