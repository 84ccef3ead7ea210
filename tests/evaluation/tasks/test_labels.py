"""Labels, groups and paths of a table are read as what they are, with a note, or refused in one sentence."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evaluation.config import EvaluateConfig
from evaluation.tasks import PATIENTS_UNKNOWN, TaskData, TaskError, read_task

Picture = Callable[..., Path]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that only have to exist."""
    root = tmp_path_factory.mktemp("images")
    for number in range(36):
        (root / f"{number}.png").write_bytes(b"")
    (root / "café.png").write_bytes(b"")
    return root


def read(root: Path, labels: Sequence[str], *, column: str = "patient", extra: Sequence[str] = (), **told: object) -> TaskData:
    """A table of nine patients with an image of each label."""
    rows = [f"path,label,{column}"]
    rows += [f"{patient * len(labels) + place}.png,{label},P{patient}" for patient in range(9) for place, label in enumerate(labels)]
    table = root / "labels.csv"
    table.write_text("\n".join([*rows, *extra]) + "\n", encoding="utf-8")
    return read_task(root, **told)  # type: ignore[arg-type]


def notes(task: TaskData) -> list[str]:
    return [note for note in task.notes if not note.startswith("the data names no")]


SEVERITY = ("none", "mild", "moderate", "severe")


def test_grades_in_words_have_the_order_that_is_given(images: Path) -> None:
    order = EvaluateConfig(order="None, mild,moderate,severe").grades
    task = read(images, SEVERITY, order=order)
    assert (task.kind, task.classes, notes(task)) == ("ordinal", SEVERITY, [])
    assert read(images, SEVERITY).kind == "classification"


def test_grades_in_words_without_an_order_are_refused(images: Path) -> None:
    with pytest.raises(TaskError, match=r"the order of the classes mild, moderate, none, severe is not known; .* --order none,mild,severe"):
        read(images, SEVERITY, kind="ordinal")
    with pytest.raises(TaskError, match="the order none, mild does not name each of the classes mild, moderate, none, severe once"):
        read(images, SEVERITY, order=("none", "mild"))
    with pytest.raises(ValueError, match="order is 'a,b' and kind is classification"):
        EvaluateConfig(order="a,b", kind="classification")


def test_a_grade_of_the_order_that_does_not_occur_is_said(images: Path) -> None:
    task = read(images, SEVERITY[:3], order=SEVERITY)
    assert task.classes == SEVERITY[:3]
    assert notes(task) == ["grades: severe does not occur in the data"]


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (("0.0", "1.0", "2.0"), ("0", "1", "2"), ["classes 0, 1, 2 are numbers, so", "read '0.0' as '0', '1.0' as '1', '2.0' as '2'"]),
        (("2", "-1", "0", "1"), ("-1", "0", "1", "2"), ["are numbers, so", "-1 is read as the grade below 0"]),
        (("Mayo 3", "Mayo 0", "Mayo 1"), ("Mayo 0", "Mayo 1", "Mayo 3"), ["2 does not occur, and the step over it counts as one"]),
        (("0.5", "10", "2"), ("0.5", "2", "10"), ["are numbers, so"]),
    ],
)
def test_numbers_are_sorted_as_numbers_and_said_to_be_grades(
    images: Path, labels: Sequence[str], classes: Sequence[str], said: list[str]
) -> None:
    task = read(images, labels)
    assert (task.kind, task.classes) == ("ordinal", classes)
    assert len(notes(task)) == len(said)
    for note, part in zip(notes(task), said, strict=True):
        assert part in note


def test_a_patient_written_in_two_ways_stands_in_one_split(images: Path) -> None:
    again = [f"{number}.png,{'ab'[number % 2]},p{number % 9}" for number in range(18, 36)]
    task = read(images, ("a", "b"), extra=again)
    assert {item.group for item in task.items} == {f"P{number}" for number in range(9)}
    assert len({(item.group, item.split) for item in task.items}) == 9
    told = "groups: 9 groups are written in several ways (case, spaces, Unicode form, 12.0 for 12) and read as one each"
    assert notes(task) == [told]


def test_stations_that_are_asked_for_as_names_are_names(images: Path) -> None:
    task = read(images, ("1", "2", "3"), kind="classification")
    assert (task.kind, notes(task)) == ("classification", [])


def test_spellings_of_one_label_are_one_class(images: Path) -> None:
    accent = unicodedata.normalize("NFD", "Crête")
    task = read(images, ("Crête", accent, " polyp", "polyp"))
    assert task.classes == ("Crête", "polyp")
    (note,) = notes(task)
    assert note == f"spelling: labels are read ' polyp' as 'polyp', {accent!r} as 'Crête'"
    assert read(images, ("Mayo 0", "mayo 0", "Mayo 1", "Mayo 2")).classes == ("Mayo 0", "Mayo 1", "Mayo 2")


@pytest.mark.parametrize(
    "column", ["PatientID", "patient id", "SUBJECT", "Case", "procedure", "exam", "StudyInstanceUID", "video", "Sequence", "pid"]
)
def test_every_usual_name_of_the_group_column_is_known(images: Path, column: str) -> None:
    task = read(images, ("a", "b"), column=column)
    assert {item.group for item in task.items} == {f"P{number}" for number in range(9)}
    assert notes(task) == []


def test_a_missing_group_column_is_said(images: Path) -> None:
    assert notes(read(images, ("a", "b"), column="doctor")) == [PATIENTS_UNKNOWN]
    some = read(images, ("a", "b"), extra=["20.png,a,", "21.png,b,"])
    assert notes(some) == ["patients unknown for 2 of 20 items: each of their images counts as a patient of its own"]


def test_of_several_group_columns_the_patient_counts(images: Path) -> None:
    rows = [f"{number}.png,{'ab'[number % 2]},v{number},P{number // 4}" for number in range(36)]
    (images / "labels.csv").write_text("\n".join(["path,label,video,Patient-ID", *rows]))
    task = read_task(images)
    assert len({item.group for item in task.items}) == 9
    assert "groups: by the column 'Patient-ID', not by 'video'" in task.notes


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "..\\outside.png", "a/../../outside.png"])
def test_a_path_outside_the_folder_is_refused(images: Path, name: str) -> None:
    (images.parent / "outside.png").write_bytes(b"")
    with pytest.raises(TaskError, match=r"labels\.csv line 20: .* is outside .*; give paths of files inside that folder"):
        read(images, ("a", "b"), extra=[f"{name},a,P0"])


def test_paths_of_another_system_are_found_and_said(images: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café.png")
    task = read(images, ("a", "b"), extra=[" 30.png,a,P0", ".\\31.png,b,P0", f"{decomposed},a,P1"])
    assert [Path(item.path).name for item in task.items[18:]] == ["30.png", "31.png", "café.png"]
    assert notes(task) == ["spelling: 3 paths of labels.csv were corrected (outer spaces, backslashes, Unicode form)"]
    task.validate()


def test_two_labels_of_one_image_are_refused_and_repeated_rows_counted(images: Path) -> None:
    with pytest.raises(TaskError, match=r"0\.png' has the labels 'a' and 'b'; keep one"):
        read(images, ("a", "b"), extra=["0.png,b,P0"])
    task = read(images, ("a", "b"), extra=["0.png,a,P0"] * 50)
    assert len(task.items) == 18
    assert notes(task) == ["repeated: 50 rows say the same as another and are counted once"]
