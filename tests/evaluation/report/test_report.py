from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from evaluation.intervals import Interval
from evaluation.report.charts import normalized_entropy, training_figure
from evaluation.report.growth import GrowthPoint, StageGrowth, growth_figures, time_exponent
from evaluation.report.prediction_tables import GroupRow, SubgroupRow
from evaluation.report.report import (
    ContactSheet,
    CurvePoint,
    FunnelStep,
    Note,
    Picture,
    ReportData,
    StageTiming,
    TrainingCurve,
    render_report,
)
from evaluation.report.subgroups import Subgroups
from tests.helpers.chromium import chromium, watched
from warehouse.records import Score

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"alert(1)\">'\"&{{ 7*7 }}\n結腸"


def _score(model_id: str, model: str, metric: str, value: float) -> Score:
    return Score(
        score_id=f"{model_id}{metric}",
        model_id=model_id,
        model=model,
        task="landmarks",
        data_id="d",
        split="test",
        head="knn",
        metric=metric,
        value=value,
        ci_low=value - 0.05,
        ci_high=value + 0.04,
        num_items=120,
        num_groups=16,
        seed=0,
        details={"splits": "official"},
    )


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (180, 60, 50)).save(buffer, "JPEG")
    return buffer.getvalue()


def _point(num_frames: int, seconds: float, memory_bytes: int | None = 10**9) -> GrowthPoint:
    return GrowthPoint(num_frames=num_frames, seconds=seconds, memory_bytes=memory_bytes)


GROWTH = StageGrowth(
    stage="similarity",
    points=(_point(1000, 200.0, None), _point(10_000, 2000.0)),
    line=(_point(1000, 200.0), _point(10_000, 2000.0), _point(120_000_000, 360_000.0)),
    elsewhere=(("32 cores", 7200.0),),
    disk_bytes=5 * 10**9,
)


def report_data() -> ReportData:
    sheet = ContactSheet(title="blur", num_frames=1234, pictures=(Picture(jpeg=_jpeg(), caption="1.0 s"), Picture(jpeg=_jpeg())))
    return ReportData(
        title="Phantom demo",
        subtitle="lake demo",
        created_at="2026-01-02",
        facts=(("Lake", "demo/lake"), ("Recipe", "demo")),
        funnel=(FunnelStep(name="sampled", num_frames=6400), FunnelStep(name="in the dataset", num_frames=1000, note="balanced")),
        kept=replace(sheet, title="kept"),
        dropped=(sheet,),
        clusters_before=(900, 50, 50),
        clusters_after=(60, 50, 50),
        training=TrainingCurve(
            loss=(CurvePoint(step=0, value=11.0), CurvePoint(step=100, value=float("nan")), CurvePoint(step=200, value=8.5)),
            score=(CurvePoint(step=100, value=0.7), CurvePoint(step=200, value=0.65)),
            score_name="landmarks/val/knn_balanced_accuracy",
            chosen_step=100,
        ),
        scores=(
            _score("b", "random weights", "accuracy", 0.4),
            _score("a", "ours at 100", "accuracy", 0.81),
            replace(_score("a", "ours at 100", "macro_f1", float("nan")), ci_low=float("nan"), ci_high=float("nan")),
        ),
        own_models=("a",),
        notes=(Note(level="leak", text="2 images are in both"),),
        timings=(StageTiming(stage="ingest", seconds=41.25, num_items=16, unit="videos", runner="processes"),),
        growth=(GROWTH,),
    )


def _machine_block(page: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', page, flags=re.DOTALL)
    loaded: dict[str, Any] = json.loads(found)
    return loaded


def test_the_numbers_can_be_read_out_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / 'it\'s a "report".html'
    render_report(report_data(), path)
    numbers = _machine_block(path.read_text(encoding="utf-8"))
    assert numbers["funnel"] == [{"name": "sampled", "num_frames": 6400}, {"name": "in the dataset", "num_frames": 1000}]
    assert numbers["training"]["chosen_step"] == 100
    assert numbers["training"]["loss"] == [[0, 11.0], [100, None], [200, 8.5]]
    assert [(s["model"], s["own"], s["metric"], s["value"]) for s in numbers["scores"]] == [
        ("random weights", False, "accuracy", 0.4),
        ("ours at 100", True, "accuracy", 0.81),
        ("ours at 100", True, "macro_f1", None),
    ]
    assert numbers["clusters"]["entropy"]["before"] < numbers["clusters"]["entropy"]["after"] < 1


def test_two_renderings_are_the_same_bytes(tmp_path: Path) -> None:
    render_report(report_data(), tmp_path / "a.html")
    render_report(report_data(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_an_empty_report_is_a_small_page_without_charts(tmp_path: Path) -> None:
    render_report(ReportData(title="nothing yet"), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert len(page) < 20_000
    assert "<section" not in page
    assert _machine_block(page)["scores"] == []


def test_a_file_name_that_is_not_utf8_does_not_cost_the_report(tmp_path: Path) -> None:
    render_report(ReportData(title=b"\xff.mp4".decode("utf-8", "surrogateescape")), tmp_path / "r.html")
    assert "<h1>?.mp4</h1>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_entropy_is_one_for_equal_clusters_and_zero_for_one() -> None:
    assert normalized_entropy([5, 5, 5, 5]) == pytest.approx(1.0)
    assert normalized_entropy([7, 0]) == 0.0
    assert normalized_entropy([3, 1]) == pytest.approx(0.8112781)


def test_the_chosen_checkpoint_is_marked_where_it_is() -> None:
    figure = training_figure([(0, 3.0)], [(10, 0.5), (20, 0.9)], "x", 20)
    star = figure["data"][-1]
    assert (star["x"], star["y"], star["marker"]["symbol"]) == ([20], [0.9], "star")
    assert len(training_figure([(0, 3.0)], [(10, 0.5)], "x", None)["data"]) == 2


def test_the_exponent_is_the_slope_on_logarithmic_axes() -> None:
    assert time_exponent([_point(1000, 100.0), _point(10_000, 10_000.0), _point(100_000, 1_000_000.0)]) == pytest.approx(2.0)
    assert time_exponent([_point(1000, 300.0), _point(1000, 500.0)]) is None


def test_the_exponent_is_of_what_depends_on_the_frames() -> None:
    # 100 s of start-up hide that ten times as many frames take ten times as long; of 1 frame nothing is measured
    points = [replace(_point(n, 100.0 + n), fixed_s=100.0) for n in (1, 1000, 10_000)]
    assert time_exponent(points) == pytest.approx(1.0)
    assert time_exponent(points[:2]) is None


def test_growth_is_drawn_as_points_a_line_and_a_forecast(tmp_path: Path) -> None:
    figures = growth_figures([GROWTH])
    measured, line, forecast = figures["growth_time"]["data"]
    assert (measured["x"], measured["y"]) == ([1000, 10_000], [200.0, 2000.0])
    assert (line["x"][-1], forecast["x"], forecast["y"]) == (120_000_000, [120_000_000], [360_000.0])
    assert figures["growth_memory"]["data"][0]["x"] == [10_000]  # of the other run it was not recorded
    place = replace(GROWTH, stage="place", points=GROWTH.points[:1], line=(), elsewhere=(), note="no forecast: too short")
    render_report(ReportData(title="growth", growth=(place, GROWTH)), tmp_path / "g")
    page = (tmp_path / "g").read_text()
    for said in ("1.00", "not measured", "4 days", ">2 h<", "not recorded", "5.0 GB", "place: no forecast: too short."):
        assert said in page
    assert page.count("data-forecast=") == 1
    assert _machine_block(page)["growth"][1]["measured"] == [[1000, 200.0, None], [10_000, 2000.0, 10**9]]


def _hostile() -> ReportData:
    data = report_data()
    return replace(
        data,
        title=HOSTILE,
        subtitle=HOSTILE,
        created_at=HOSTILE,
        facts=((HOSTILE, HOSTILE),),
        funnel=(FunnelStep(name=HOSTILE, num_frames=3, note=HOSTILE), FunnelStep(name="end", num_frames=1)),
        dropped=(ContactSheet(title=HOSTILE, num_frames=2, pictures=(Picture(jpeg=_jpeg(), caption=HOSTILE),)),),
        training=replace(data.training, score_name=HOSTILE) if data.training else None,
        scores=(replace(_score("a", HOSTILE, HOSTILE, 0.5), task=HOSTILE, head=HOSTILE, details={"warnings": HOSTILE, "splits": HOSTILE}),),
        notes=(Note(level=HOSTILE, text=HOSTILE),),
        timings=(StageTiming(stage=HOSTILE, seconds=1.0, num_items=1, unit=HOSTILE, runner=HOSTILE),),
        growth=(replace(GROWTH, stage=HOSTILE, note=HOSTILE, elsewhere=((HOSTILE, 1.0),)),),
    )


@pytest.mark.parametrize(("details", "level"), [({"num_leaks": "1"}, "leak"), ({}, "warning")])
def test_the_record_of_leaks_and_not_the_words_of_a_warning_colours_it(details: dict[str, str], level: str, tmp_path: Path) -> None:
    warned = {"warnings": "no val image of class 'leak', which therefore is never chosen for", **details}
    render_report(replace(report_data(), scores=(replace(_score("a", "ours", "accuracy", 0.5), details=warned),)), tmp_path / "r.html")
    assert f'<div class="note {level}"><b>data</b>no val image' in (tmp_path / "r.html").read_text()


def _with_wide_tables() -> ReportData:
    """Tables as wide as a large lake makes them: every stage with a forecast or a long note, long names, six metrics."""
    data = report_data()
    note = "no forecast: the longest run spent 1.1 s beyond start-up, on 161 frames; run `endoforge curate` on at least 120,000 frames"
    stages = ("ingest", "embed", "holdout", "similarity", "dedup", "cluster", "select", "shard")
    grown = [
        replace(
            GROWTH,
            stage=stage,
            points=(_point(12_345_678, 400_000.0, 10**12), _point(123_456_789, 9_000_000.0, 10**12)),
            elsewhere=(("32 cores", 7_000_000.0), ("1000 cores", 7200.0)),
            disk_bytes=10**14,
            note=note,
        )
        for stage in stages
    ]
    whole = ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_weighted_kappa", "macro_auroc", "expected_calibration_error", "brier")
    by_class = (f"{measure}/{name}" for name in ("dyed-lifted-polyps", "z-line") for measure in ("sensitivity", "auroc", "auprc"))
    scores = tuple(_score("a", "3f2a9c51d0e84b77 step 125000", metric, 0.5) for metric in (*whole, *by_class))
    devices = tuple(
        SubgroupRow(name, 60, 8, Interval(value, value - 0.1, value + 0.1))
        for name, value in (("Olympus CF-HQ190L", 0.9), ("Fujifilm EC-760R-V/L", 0.7))
    )
    told = Subgroups(measure="accuracy", columns=(("device", devices),), groups=(GroupRow("a41f0c22", 7, 0.25),))
    return replace(
        data,
        growth=(*grown, replace(GROWTH, stage="place", points=GROWTH.points[:1], line=(), elsewhere=(), note=note)),
        scores=scores,
        subgroups=((scores[0], told),),
        funnel=(
            *data.funnel,
            FunnelStep(name="kept", num_frames=120_000_000, note="dropped: " + ", ".join(["out of body 12,345,678"] * 8)),
        ),
        timings=tuple(
            StageTiming(stage=stage, seconds=400_000.0, num_items=120_000_000, unit="frames kept", runner="processes") for stage in stages
        ),
    )


# at 390 px a row is a block, with a line or two for each cell
_TALLEST = {390: 360, 1440: 100, 1920: 100}


def test_every_cell_lies_in_its_card_and_rows_are_low(tmp_path: Path, tables_at: Callable[..., dict[int, list[dict[str, Any]]]]) -> None:
    render_report(_with_wide_tables(), tmp_path / "report.html")
    found = tables_at(tmp_path / "report.html", *_TALLEST, wait_for="html[data-charts=drawn]", screenshots=tmp_path)
    for width, tables in found.items():
        assert {table["section"] for table in tables} == {"scores", "funnel", "timings", "growth"}
        assert [table["outside"] for table in tables if table["outside"]] == [], width
        assert all(table["shown"] > 0 and table["tallest"] <= _TALLEST[width] for table in tables), tables


def test_subgroups_stand_closed_beside_their_task_and_machines_can_read_them(tmp_path: Path) -> None:
    render_report(_with_wide_tables(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<details data-subgroups><summary>3f2a9c51d0e84b77 step 125000 by device, patient or sequence</summary>") == 1
    assert '<td class="name">Olympus CF-HQ190L</td><td data-label="images">60</td>' in page
    (told,) = _machine_block(page)["subgroups"]
    assert told["device"] == {"Olympus CF-HQ190L": [60, 0.9], "Fujifilm EC-760R-V/L": [60, 0.7]}
    assert told["worst"] == {"a41f0c22": [7, 0.25]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("case", ["plain", "hostile"])
def test_a_browser_shows_the_page_without_an_error_or_a_request(tmp_path: Path, case: str, scheme: str) -> None:
    data = report_data() if case == "plain" else _hostile()
    path = tmp_path / "report.html"
    render_report(data, path)
    with chromium() as browser:
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        problems, requests = watched(page)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-charts=drawn]", state="attached")
        page.wait_for_function("document.querySelectorAll('.chart svg.main-svg').length >= 5")
        assert page.title() == " ".join(data.title.split())
        assert page.locator("h1").text_content() == data.title
        assert page.locator(".sheet img").evaluate_all("images => images.every(image => image.naturalWidth === 32)")
        numbers = json.loads(page.locator("#report-data").text_content() or "")
        shown = page.locator("[data-score]").evaluate_all("cells => cells.map(c => [c.dataset.model, c.dataset.metric, c.dataset.value])")
        assert {(model, metric) for model, metric, _ in shown} == {(s["model"], s["metric"]) for s in numbers["scores"]}
        if case == "plain":
            assert page.locator("tr[data-step=sampled]").get_attribute("data-num-frames") == "6400"
            assert page.locator("[data-model='ours at 100'][data-metric=accuracy] .value").text_content() == "0.810"
            assert page.locator("[data-model='ours at 100'][data-metric=accuracy] .interval").text_content() == "0.760\u20130.850"
            assert page.locator("[data-model='ours at 100'][data-metric=macro_f1] .interval").text_content() == "no interval"
            assert page.locator("tr.own").count() == 1
            points = page.evaluate("document.getElementById('chart-training').data.map(trace => [trace.name, trace.x.length])")
            assert points == [["training loss", 3], ["landmarks/val/knn_balanced_accuracy", 2], ["chosen checkpoint (step 100)", 1]]
            page.locator(".sheet figure").first.click()
            large = page.locator(".sheet img").first.bounding_box()
            assert large == {"x": 0, "y": 0, **page.viewport_size}  # type: ignore[dict-item]
    assert problems == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
