"""Stored heads on the vectors of a map: which fit, what they say, and where it is shown."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.heads import LinearProbe, save_head
from evaluation.heads.linear import Scaler
from flows.atlas.export import export_atlas
from flows.atlas.points import Atlas, read_atlas
from flows.atlas.script import as_script
from flows.cli.cli import main
from flows.job import Job
from flows.runners import make_runner
from warehouse import queries
from warehouse.lake import Lake, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import Score

STORED = Path(__file__).parents[2] / "warehouse" / "lakes" / "0.1.0.tar.xz"
CLASSES = ("caecum", "z_line")


def probe(feature_set: str = "last") -> LinearProbe:
    """Tells classes by the sign of the first number, of vectors that were three long when it was trained."""
    dim = 1280
    scaler = Scaler(np.zeros(dim), np.full(dim, 3 / np.sqrt(dim)))
    weight = np.zeros((2, dim), np.float32)
    weight[1, 0] = 1000.0
    return LinearProbe(feature_set, 1.0, 0.9, 1, scaler, weight, np.array([0.0, -20.0], np.float32), {})


def store(root: Path, score_id: str, *, model_id: str, feature_set: str = "last", image_size: int = 224) -> Score:
    """A head's files below the lake, and a score that names them."""
    folder = root / "encoders" / "own"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architecture": "x", "pretrained_cfg": {"input_size": [3, 224, 224]}}))
    told = {"model_id": model_id, "label": "a model", "path": "encoders/own", "weights": "trained", "image_size": image_size}
    save_head(root / f"evaluations/{score_id}.safetensors", "linear", probe(feature_set), {"classes": CLASSES, "backbone": told})
    return Score(
        score_id=score_id,
        model_id=model_id,
        model="a model",
        task="stations",
        data_id="d",
        split="test",
        head="linear",
        metric="accuracy",
        value=0.9,
        ci_low=0.8,
        ci_high=1.0,
        num_items=4,
        num_groups=2,
        seed=0,
        details={"head_file": f"evaluations/{score_id}.safetensors"},
    )


def keep(lake: Lake, scores: list[Score]) -> None:
    plan = plan_run(stage="evaluate", version=1, config={"scores": [score.score_id for score in scores]}, inputs=[])
    with record_run(lake, plan, RunContext(runner="serial")) as run:
        run.rows("scores", scores)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose frames have scored heads: one that fits, and some that do not."""
    folder = tmp_path_factory.mktemp("scored")
    with tarfile.open(STORED) as tar:
        tar.extractall(folder, filter="data")
    lake_root = folder / "lake"
    with open_lake(lake_root) as lake:
        own = queries.encoder_named(lake, None)
        keep(lake, [store(lake_root, "fitting-1", model_id=own), store(lake_root, "of-another", model_id="4" * 64)])
        keep(
            lake,
            [
                store(lake_root, "of-blocks", model_id=own, feature_set="last4"),
                store(lake_root, "of-48-px", model_id=own, image_size=48),
                replace(store(lake_root, "without-head", model_id=own), details={}),
            ],
        )
    return lake_root


@pytest.fixture(scope="module")
def atlas(root: Path) -> Atlas:
    with open_lake(root, read_only=True) as lake:
        return read_atlas(lake, encoder=None, dataset=None, most=1000, layout="pca")


def test_the_newest_head_that_fits_says_what_each_point_shows(root: Path, atlas: Atlas) -> None:
    (found,) = atlas.predictions
    assert found.head.score_id == "fitting-1"
    logits = atlas.vectors[:, 0] * np.sqrt(1280) * 1000 - 20
    np.testing.assert_array_equal(found.words, np.where(logits > 0, "z_line", "caecum"))
    np.testing.assert_allclose(found.probabilities, 1 / (1 + np.exp(-np.abs(logits).astype(float))), rtol=1e-4)
    said = "predicted stations by head linear of task stations, score fitting-1; from the stored vectors, so `predict` may differ"
    assert said in atlas.notes
    told = json.loads(as_script(atlas).decode().removeprefix("const ATLAS = ").removesuffix(";\n"))
    assert told["predictions"]["predicted stations"]["score"] == "fitting-1"


def test_an_export_has_classes_and_probabilities(root: Path, atlas: Atlas, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(root, copy)
    with open_lake(copy) as lake:
        page = export_atlas(Job(lake=lake, runner=make_runner("serial", None)), atlas, tmp_path / "map")
    table = pq.read_table(page.parent / "points.parquet")
    (found,) = atlas.predictions
    assert table["predicted_stations"].to_pylist() == list(found.words)
    assert table["predicted_stations_probability"].to_pylist() == found.probabilities.tolist()


@pytest.mark.parametrize(
    ("score", "why"),
    [
        ("of-another", "it is of the backbone a model, and the vectors are of the encoder efficientnet-lite0"),
        ("of-blocks", "its head reads the features last4, of which the lake has the part last alone"),
        ("of-48-px", "it saw pictures of 48 pixels, and the vectors are of 224"),
        ("without-head", "it has no stored head"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_in_a_sentence(root: Path, capsys: pytest.CaptureFixture[str], score: str, why: str) -> None:
    assert main(["atlas", "--lake", str(root), "--head", score]) == 1
    said = capsys.readouterr().err
    advice = "give a score of knn or linear on the map's own encoder, or leave it out"
    assert said == f"endoforge: the head of score {score[:12]} does not fit the map: {why}; {advice}\n"


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_map_opens_without_a_head_whose_file_is_damaged_and_says_so(root: Path, tmp_path: Path, damage: str) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "lake"))
    file = copy / "evaluations" / "fitting-1.safetensors"
    file.unlink() if damage == "gone" else file.write_bytes(file.read_bytes()[:50])
    with open_lake(copy, read_only=True) as lake:
        atlas = read_atlas(lake, encoder=None, dataset=None, most=1000, layout="pca")
        assert atlas.predictions == ()
        assert [note for note in atlas.notes if note.startswith("head linear of task stations, score fitting-1 is left out: ")]
        with pytest.raises((OSError, ValueError)):
            read_atlas(lake, encoder=None, dataset=None, most=1000, layout="pca", head="fitting-1")
