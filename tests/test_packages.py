"""Names that belong to this repository."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["flows", "curation", "pretrain", "evaluation", "warehouse"])
def test_each_package_is_the_folder_of_this_repository(name: str) -> None:
    assert Path(str(importlib.import_module(name).__file__)).parent == ROOT / name


@pytest.mark.parametrize("name", ["flows", "curation", "pretrain", "evaluation", "warehouse"])
def test_each_package_has_its_type_mark(name: str) -> None:
    assert (ROOT / name / "py.typed").is_file()
