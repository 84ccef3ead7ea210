"""The page about predictions: escaped, without a network, with its spans where the frames are."""

from __future__ import annotations

import re
from pathlib import Path

from evaluation.report import Timeline, TimelineEpisode, TimelinePicture, TimelineRow, render_timeline

ROW = TimelineRow(
    name="<b>film</b>.mp4",
    in_time=True,
    positions=(0.0, 1.0, 2.0, 3.0),
    values=(0.0, 1.0, 0.5, 0.9),
    hidden=(False, False, False, True),
    unlike=(True, False, False, True),
    episodes=(TimelineEpisode(start=1.0, end=2.0, label="polyp", peak=1.0, peak_at=1.0),),
    pictures=(TimelinePicture(jpeg=b"jpeg", position=1.0, label="polyp", value=1.0),),
)


def page(folder: Path, *rows: TimelineRow) -> str:
    failures = (("bad.mp4", "no video"),)
    told = Timeline(title="Predictions", value_name="probability", facts=(("task", "polyps"),), rows=rows, failures=failures, notes=())
    render_timeline(told, folder / "timeline.html")
    return (folder / "timeline.html").read_text()


def test_a_row_has_its_curve_spans_and_episodes(tmp_path: Path) -> None:
    text = page(tmp_path, ROW)
    assert 'points="0.0,120.0 250.0,0.0 500.0,60.0 750.0,120.0"' in text, "what is hidden lies at zero"
    spans = dict(re.findall(r'<rect class="(\w+)" x="([\d.]+)"', text))
    assert spans == {"episode": "250.0", "hidden": "750.0", "unlike": "750.0"}
    assert "<b>33.3%</b> of the frames shown" in text
    assert "4 frames, 1 not shown, 1 episode." in text
    assert "polyp 1.00 at 1.00 s" in text
    assert "&lt;b&gt;film&lt;/b&gt;.mp4" in text
    assert "<b>film" not in text
    assert "bad.mp4" in text
    assert "Research use only" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)


def test_a_long_video_keeps_its_peaks(tmp_path: Path) -> None:
    number = 100_000
    values = [0.0] * number
    values[54_321] = 1.0
    told = {"in_time": True, "hidden": (False,) * number, "unlike": (), "episodes": (), "pictures": ()}
    row = TimelineRow(name="long", positions=tuple(n / 5 for n in range(number)), values=tuple(values), **told)  # type: ignore[arg-type]
    text = page(tmp_path, row)
    (points,) = re.findall(r'points="([^"]+)"', text)
    assert len(points.split()) <= 600
    assert ",0.0" in points
    assert "is not known" in text
