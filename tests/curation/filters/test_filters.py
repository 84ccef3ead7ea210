"""Every filter against the phantom's truth, on a few small videos: tests/benchmarks/bench_filters.py prints the same at full size."""

import pytest

from curation.ingest.config import IngestConfig
from curation.phantom.config import PhantomConfig
from tests.benchmarks.bench_filters import Roc, judge, phantom_videos, roc_of_filters

PATIENTS = (0, 1, 2, 6, 8, 9)


@pytest.fixture(scope="module")
def rocs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Roc]:
    config = PhantomConfig(num_train_videos=12, seconds=36, fps=4, size=256)
    paths = phantom_videos(tmp_path_factory.mktemp("phantom"), config, PATIENTS)
    return roc_of_filters([judge(path, IngestConfig(fps=4, text="off")) for path in paths])


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("blur", 0.8),
        ("dark", 0.98),
        ("bright", 0.98),
        ("specular", 0.7),
        ("bubbles", 0.9),
        ("stool", 0.9),
        ("freeze", 0.9),
        ("out_of_body", 0.97),
    ],
)
def test_a_filter_tells_its_frames_from_clean_ones(name: str, least: float, rocs: dict[str, Roc]) -> None:
    roc = rocs[name]
    assert roc.num_positive >= 5
    assert roc.auc_within > least


def test_hardly_a_clean_frame_is_dropped_by_default(rocs: dict[str, Roc]) -> None:
    assert min(roc.specificity for roc in rocs.values()) > 0.95
    assert all(rocs[name].sensitivity > 0.8 for name in ("dark", "bright", "out_of_body"))
