"""The pages that are made from the code, and what the written ones say of it."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from docs.hooks import commands_page, tables_page
from evaluation.tasks.items import TaskData
from evaluation.tasks.splits import complete_splits
from flows.cli.cli import COMMANDS, GROUPS
from flows.cli.examples import EXAMPLES
from pretrain.recipes import vits14
from tests.helpers.prose import long_lines, num_words, sentences
from warehouse.schema import DESCRIBED_TABLES, TABLES
from warehouse.views import MACROS, VIEWS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
MOST_WORDS, MOST_CHARACTERS = 25, 140
"""most words of a sentence and most characters of a line"""


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """Help text by command."""
    return dict(re.findall(r"^## (\S+)\n\n```text\n(.*?)```", commands_page(), re.DOTALL | re.MULTILINE))


def test_the_reference_has_the_help_of_every_command(commands: dict[str, str]) -> None:
    assert list(commands) == list(COMMANDS)
    for name, text in commands.items():
        assert text.startswith(f"usage: endoforge {name} ")
        assert "--lake" in text or name in ("demo", "check-data", "deploy")


def test_each_help_has_an_example_whose_options_it_explains(commands: dict[str, str]) -> None:
    assert list(EXAMPLES) == list(name for names in GROUPS.values() for name in names)
    for name, example in EXAMPLES.items():
        assert example.split()[:2] == ["endoforge", name]
        _, found, options = " ".join(commands[name].split()).partition(f"Example: {example} ")
        assert found, name
        for option in re.findall(r" (--[\w.-]+)", example):
            assert re.search(rf"[^\w-]{option}[^\w.-]", options), f"{name} {option}"


@pytest.mark.parametrize(
    ("command", "first", "later"),
    [
        ("run", "--lake --size --recipe --name --validation --task --runner --workers", "--holdout --evaluate.heads --ingest.min-blur"),
        ("ingest", "--lake --runner --workers", "--min-blur --fps"),
        ("evaluate", "--lake --checkpoint --task --data", "--runner --heads"),
        ("pretrain", "--lake --dataset --recipe --validation --task", "--validation-weights --runner --model.architecture"),
        ("select-for-labels", "--lake --size", "--runner --holdout --dedup-threshold"),
    ],
)
def test_common_options_stand_before_the_rare_ones(commands: dict[str, str], command: str, first: str, later: str) -> None:
    listed = re.findall(r"^  (?:-\w, )?(--[\w.-]+)", commands[command], re.MULTILINE)[1:]
    assert " ".join(listed).startswith(first)
    positions = [listed.index(option) for option in later.split()]
    assert positions == sorted(positions)
    assert positions[0] > len(first.split()) - 1


def test_the_data_dictionary_has_every_table_column_and_view() -> None:
    page = tables_page()
    parts = dict(re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))
    assert [*parts] == [*DESCRIBED_TABLES, *VIEWS, *MACROS]
    for table, part in parts.items():
        meanings = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.*) \|$", part, re.MULTILINE))
        assert meanings, table
        if table in TABLES:
            assert list(meanings) == TABLES[table].names
        assert [name for name, meaning in meanings.items() if not meaning.strip()] == [], table
    assert (
        "| `pts_us` | BIGINT | presentation time in microseconds since the video's first frame; stills are a second apart |"
        in parts["frames"]
    )
    assert [name for name in parts if parts[name].lstrip().startswith(("```", "|"))] == []
    assert "FROM current_frames" in parts["funnel"]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_commands_and_options_on_a_page_exist(page: Path, commands: dict[str, str]) -> None:
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        for name, options in re.findall(r"^\S*endoforge (\S+)(.*)", block.replace("\\\n", " "), re.MULTILINE):
            for option in re.findall(r" (--[\w.-]+)", options):
                assert option in commands[name], f"{page.name}: endoforge {name} {option}"
    known = "\n".join(commands.values())
    for option in re.findall(r"`(?:endoforge )?(--[a-z][\w.-]+)", page.read_text()):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w.-])", known) or option == "--dry", f"{page.name}: {option}"


def test_figures_have_a_digit_before_the_point() -> None:
    for page in [ROOT / "README.md", *PAGES, ROOT / "tests/device/FIGURES.md"]:
        assert re.findall(r"(?<![\w./)*\]-])\.\d+\b", page.read_text()) == [], page.name


def test_sentences_begin_with_their_subject_and_end() -> None:
    for page in [ROOT / "README.md", *PAGES]:
        said = list(sentences(page.read_text()))
        assert [sentence for sentence in said if num_words(sentence) > MOST_WORDS] == [], page.name
        assert [sentence for sentence in said if sentence.startswith("Of ")] == [], page.name
        assert long_lines(page.read_text(), MOST_CHARACTERS) == [], page.name


def extension(name: str) -> dict[str, Any]:
    """What a snippet of the pages on extending defines."""
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("extend.md", "add-encoder.md", "add-task.md"))
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", pages, re.DOTALL) if name in code]
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_the_documented_reader_gives_a_valid_task(tmp_path: Path) -> None:
    for patient in range(6):
        for label in ("a", "b"):
            cv2.imwrite(str(tmp_path / f"p{patient}_{label}_0.jpg"), np.full((32, 32, 3), 40 * patient, np.uint8))
    (tmp_path / "test.txt").write_text("p4 p5")
    documented = extension("read_mine")
    assert documented["MINE"].read is documented["read_mine"]
    items, notes = documented["MINE"].read(tmp_path)
    made = complete_splits(items, val_share=0.25)
    task = TaskData(name="mine", kind="classification", items=made.items, classes=("a", "b"), notes=(*notes, *made.notes))
    task.validate()
    assert {item.group for item in task.split("test")} == {"patient p4", "patient p5"}


def test_the_documented_encoder_maps_images_to_vectors() -> None:
    documented = extension("conv8_mean")
    side = documented["MINE"].preprocessing.image_size
    assert documented["Network"]()(torch.zeros(2, 3, side, side)).shape == (2, 16)


def test_the_documented_recipe_differs_in_its_length_alone() -> None:
    longer = extension("vits14_twice")["vits14_twice"]()
    assert longer.train.num_steps == 2 * vits14().train.num_steps
    assert longer.model == vits14().model


def test_each_reported_problem_names_a_test_that_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / "reported-problems.md").read_text())
    assert len(named) > 16
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"
