"""The leaderboard: what stands in one table, in which order, and what a reader of CSV and HTML gets."""

import csv
import io
import math
from dataclasses import replace

import pytest

from evaluation.published_scores import PUBLISHED, PublishedScore
from evaluation.report import render_leaderboard
from warehouse.records import Score

ONE = Score(
    score_id="a",
    model_id="m1",
    model="ours",
    task="kvasir_seg",
    data_id="d" * 64,
    split="test",
    head="linear_segmentation",
    metric="dice",
    value=0.7658,
    ci_low=0.732,
    ci_high=0.798,
    num_items=100,
    num_groups=100,
    seed=0,
    details={
        "image_size": "224",
        "split_protocol": "effisegnet: its list",
        "fold": "2",
        "settings": "ab12",
        "leak": "overlap 1",
        "leak_pretraining": "clean",
    },
)
BETTER = replace(ONE, score_id="b", model_id="m2", model="<b>|theirs", value=0.8345, ci_low=math.nan, ci_high=math.nan, details={})
UNDEFINED = replace(ONE, score_id="c", model="none", value=math.nan)
OTHER_DATA = replace(ONE, score_id="d", data_id="e" * 64, num_items=7)


def test_a_table_is_of_one_data_best_first_with_published_figures_apart() -> None:
    said = render_leaderboard([ONE, UNDEFINED, OTHER_DATA, BETTER], format="md")
    first, second = said.split("## kvasir_seg: dice")[1:]
    assert "100 test images of 100 groups; data dddddddddddd." in first
    assert first.split("\n\n")[2] == (
        "| model | head | backbone | value | 95% interval | over the best reference "
        "| leak | pretraining | division | image size | seed | settings |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        "| <b>\\|theirs | linear_segmentation | frozen | 0.835 | none |  | unknown | unknown |  |  | 0 |  |\n"
        "| ours | linear_segmentation | frozen | 0.766 | 0.732 to 0.798 |  | overlap 1 | clean | effisegnet, fold 2 | 224 | 0 | ab12 |\n"
        "| none | linear_segmentation | frozen | undefined | 0.732 to 0.798 |  | overlap 1 | clean | effisegnet, fold 2 | 224 | 0 | ab12 |"
    )
    assert "| U-Net | 0.866 | trained whole; random split of the authors | RazvanDu/DUCK-Net, README |" in first
    assert "7 test images" in second


def test_clips_and_frames_are_called_so() -> None:
    for unit in ("clips", "frames"):
        named = replace(ONE, details={**ONE.details, "unit": unit})
        other_size = replace(named, score_id="s", details={**named.details, "image_size": "96"})
        for format in ("md", "html"):
            page = render_leaderboard([named, other_size], format=format)
            assert f"100 test {unit} of 100 groups" in page
            assert f"Models were given {unit} of different sizes." in page
            assert "images" not in page
    old = replace(ONE, details={**ONE.details, "clip_pooling": "mean"})
    assert "100 test clips of 100 groups" in render_leaderboard([old], format="md")


def test_few_shot_draws_are_no_scores_of_the_whole_training_split() -> None:
    lucky = replace(ONE, score_id="s", value=0.99, details={**ONE.details, "shots": "1 per class", "draw": "0"})
    for format in ("md", "csv", "html"):
        assert "0.99" not in render_leaderboard([lucky, ONE], format=format)


def test_errors_are_sorted_the_other_way_and_other_sizes_are_said() -> None:
    near, far = replace(ONE, metric="hd95", value=3.0), replace(ONE, metric="hd95", value=30.0, model="far", details={"image_size": "448"})
    said = render_leaderboard([far, near], format="md")
    assert said.index("| ours |") < said.index("| far |")
    assert "Models were given images of different sizes." in said


def test_csv_has_each_score_once_with_full_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(render_leaderboard([ONE, BETTER], format="csv"))))
    assert [(row["model"], float(row["value"]), row["ci_low"], row["leak"]) for row in rows] == [
        ("ours", 0.7658, "0.732", "overlap 1"),
        ("<b>|theirs", 0.8345, "nan", "unknown"),
    ]


def test_html_escapes_names_and_names_no_network() -> None:
    page = render_leaderboard([ONE, BETTER], format="html")
    assert "&lt;b&gt;|theirs" in page
    assert "<b>|theirs" not in page
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_without_scores_it_says_so() -> None:
    assert render_leaderboard([], format="md") == "no scores\n"
    assert "No scores yet." in render_leaderboard([], format="html")


@pytest.mark.parametrize("figure", PUBLISHED, ids=lambda figure: f"{figure.task} {figure.model} {figure.metric}")
def test_published_figures_are_shares_with_a_source(figure: PublishedScore) -> None:
    assert 0 < figure.value < 1
    assert figure.source
    assert figure.protocol
