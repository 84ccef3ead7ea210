"""The example of an evaluation task, installed from outside and used by real commands."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm

from tests.helpers.plug_ins import REPOSITORY, commands, install, package
from warehouse.lake import open_lake

EXAMPLE = REPOSITORY / "examples" / "task_example"
COLORS = {"polyp": (40, 40, 200), "ulcer": (200, 200, 220), "normal": (90, 110, 180)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install(EXAMPLE, tmp_path_factory.mktemp("installed") / "site")


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of pictures of nine patients, two of them for test."""
    folder = tmp_path_factory.mktemp("sets") / "ward"
    folder.mkdir()
    for patient in range(9):
        for number, (label, color) in enumerate(COLORS.items()):
            noise = np.random.default_rng(10 * patient + number).normal(0, 20, (40, 40, 3))
            cv2.imwrite(str(folder / f"p{patient}_{label}_0.jpg"), np.clip(noise + color, 0, 255).astype(np.uint8))
    (folder / "test.txt").write_text("p7\np8\n")
    return folder


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "vit"
    options: dict[str, Any] = {"depth": 1, "img_size": 32}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 32, 32)}, **options)
    timm.models.save_for_hf(model, str(folder), model_args=options, safe_serialization=True)
    return folder


def test_the_example_is_one_file_of_at_most_sixty_lines() -> None:
    (file,) = EXAMPLE.glob("*.py")
    assert len(file.read_text().splitlines()) <= 60


@pytest.mark.slow
def test_a_task_from_outside_is_scored_by_its_name_and_by_auto(
    installed: dict[str, str], ward: Path, backbone: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    open_lake(lake, create=True).close()
    evaluate = ["evaluate", "--lake", str(lake), "--checkpoint", str(backbone), "--data", str(ward), "--num-bootstrap", "20"]
    named, detected = commands(
        installed, [*evaluate, "--runner", "serial", "--task", "ward_findings"], [*evaluate, "--runner", "serial", "--task", "auto"]
    )
    assert named[0] == detected[0] == 0, named
    assert "evaluate: ward_findings knn macro_f1" in named[1]
    assert "evaluate: ward_findings is scored already" in detected[1], "auto reads the folder as the same task"
    with open_lake(lake, read_only=True) as opened:
        found = opened.rows("SELECT DISTINCT task, head, metric, num_items, num_groups FROM scores ORDER BY ALL")
        details = opened.rows("SELECT DISTINCT details ->> 'splits' AS splits FROM scores")
    assert [tuple(row.values()) for row in found] == [
        ("ward_findings", head, metric, 6, 2) for head in ("constant", "knn", "linear") for metric in ("balanced_accuracy", "macro_f1")
    ]
    splits = "test patients: those of test.txt; the data names no val split: 20% of the training groups, whatever the seed"
    assert details == [{"splits": splits}]


def test_a_task_from_outside_chooses_checkpoints(installed: dict[str, str], ward: Path, backbone: Path) -> None:
    code = (
        "from evaluation.config import EvaluateConfig; from evaluation.validate import knn_score; "
        f"print(knn_score({str(backbone)!r}, data={str(ward)!r}, task='ward_findings', k=3)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=installed, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "ward_findings/val/knn_macro_f1\n", done.stderr


def test_wrong_data_and_unknown_tasks_are_told_before_work_begins(installed: dict[str, str], tmp_path: Path) -> None:
    evaluate = ["evaluate", "--lake", str(tmp_path / "lake"), "--checkpoint", "x", "--data", str(tmp_path)]
    no_list, unknown = commands(installed, [*evaluate, "--task", "ward_findings"], [*evaluate, "--task", "ward"])
    listed = tmp_path / "test.txt"
    assert no_list == (1, f"endoforge: task ward_findings: {listed} does not exist; give the folder that holds it\n")
    assert unknown[0] == 1
    assert "unknown task 'ward'; use auto for your own data, or one of clips, " in unknown[1]
    assert "ward_findings" in unknown[1]


TASKS = """
from evaluation.tasks import Item, Protocol, Task

def fails(data):
    raise KeyError("no such column")

def task(name, read=fails, **more):
    return Task(name=name, data="nothing", read=read, **more)

FAILS = task("fails")
NOTHING = task("nothing", read=lambda data: None)
DETECTS = task("detects", detect=fails)
LIMUC = task("limuc")
HEAD = task("head", kind="segmentation", protocol=Protocol(heads=("knn",), metrics=("dice",), primary="dice"))
KIND = task("kind", protocol=Protocol(heads=("knn",), metrics=("accuracy",), primary="accuracy"))
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MISSING", "cannot be loaded (AttributeError"),
        ("FAILS", "failed (KeyError: 'no such column'); repair or uninstall its package"),
        ("NOTHING", "failed (TypeError: "),
        ("HEAD", "has the heads knn; give such as linear_segmentation"),
        ("KIND", "has a protocol and no kind; give both or neither"),
    ],
)
def test_a_task_that_cannot_be_used_is_named_where_it_is_asked_for(name: str, said: str, tmp_path: Path) -> None:
    ours = package(tmp_path / "site", "tasks-of-ours", TASKS, {"endoforge.tasks": {name.lower(): name}})
    evaluate = ["evaluate", "--lake", str(tmp_path / "lake"), "--checkpoint", "x", "--data", str(tmp_path)]
    asked, other = commands(ours, [*evaluate, "--task", name.lower()], [*evaluate, "--task", "limuc"])
    assert asked[0] == 1
    assert asked[1].startswith(f"endoforge: the task '{name.lower()}' of tasks-of-ours (tasks_of_ours:{name}) {said}")
    assert asked[1].count("\n") == 1
    assert "task limuc: no folders train_and_validation_sets" in other[1]


@pytest.mark.parametrize(
    ("point", "name", "said"),
    [
        ("detects", "DETECTS", "failed (KeyError: 'no such column')"),
        ("limuc", "LIMUC", "has the name 'limuc', which a task of EndoForge has; give another name"),
    ],
)
def test_auto_asks_every_task_and_names_one_that_cannot_answer(point: str, name: str, said: str, tmp_path: Path) -> None:
    ours = package(tmp_path / "site", "tasks-of-ours", TASKS, {"endoforge.tasks": {point: name}})
    evaluate = ["evaluate", "--lake", str(tmp_path / "lake"), "--checkpoint", "x", "--data", str(tmp_path), "--task", "auto"]
    ((code, sentence),) = commands(ours, evaluate)
    assert code == 1
    assert sentence.startswith(f"endoforge: the task '{point}' of tasks-of-ours (tasks_of_ours:{name}) {said}")
