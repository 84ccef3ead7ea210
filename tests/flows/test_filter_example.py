"""The example of a filter, installed from outside and used by real commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.films import tissue, write_video
from tests.helpers.plug_ins import REPOSITORY, commands, endoforge, install, package
from warehouse.lake import open_lake

EXAMPLE = REPOSITORY / "examples" / "filter_example"
COLORS = (0.15, 1.0, 0.5, 0.05)
"""share of the colour that each scene of the film keeps"""


def rows(lake: Path, statement: str) -> list[dict[str, object]]:
    with open_lake(lake, read_only=True) as opened:
        return opened.rows(statement)


def funnel(lake: Path) -> dict[object, object]:
    """Dropped frames by reason; None: kept."""
    found = rows(lake, "SELECT reason, num_frames FROM funnel WHERE step <> 'sampled' AND num_frames > 0")
    return {row["reason"]: row["num_frames"] for row in found}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install(EXAMPLE, tmp_path_factory.mktemp("installed") / "site")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scenes of two seconds, some of them pale."""
    scenes = []
    for seed, share in enumerate(COLORS):
        picture = tissue(seed)
        grey = picture.mean(axis=2, keepdims=True)
        scenes += [grey + share * (picture - grey)] * 2
    return write_video(tmp_path_factory.mktemp("films") / "film.mp4", scenes)


def test_the_example_is_one_file_of_at_most_sixty_lines() -> None:
    (file,) = EXAMPLE.glob("*.py")
    assert len(file.read_text().splitlines()) <= 60


def test_help_names_an_installed_filter(installed: dict[str, str]) -> None:
    said = endoforge(installed, "ingest", "--help").stdout
    assert "--thresholds.min-colorfulness" in said
    assert "colourfulness by Hasler and Suesstrunk" in said
    said = endoforge(installed, "requalify", "--help").stdout
    assert "--percentiles.colorfulness" in said


@pytest.mark.slow
def test_a_filter_from_outside_drops_frames_and_refilters_them(installed: dict[str, str], film: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    out = endoforge(installed, "ingest", str(film), "--lake", str(lake), "--text", "off", "--max-out-of-body", "1", "--workers", "1")
    assert out.returncode == 0, out.stderr
    found = rows(lake, "SELECT colorfulness, drop_reason FROM frames ORDER BY frame_index")
    assert [row["colorfulness"] for row in found] == pytest.approx([6.3, 6.3, 41.2, 41.2, 20.7, 20.7, 2.9, 2.9], abs=0.1)
    assert [row["drop_reason"] for row in found] == ["pale", "pale", None, "frozen", None, "frozen", "pale", "pale"]
    assert funnel(lake) == {"pale": 4, "frozen": 2, None: 2}
    asked = "SELECT description FROM data_dictionary WHERE column_name = 'colorfulness'"
    (said,) = json.loads(endoforge(installed, "sql", "--lake", str(lake), asked, "--format", "json").stdout)
    assert str(said["description"]).startswith("colourfulness by Hasler and Suesstrunk, 0 for grey to about 100; null if")

    looser = ("requalify", "--lake", str(lake), "--max-out-of-body", "1", "--thresholds.min-colorfulness", "5")
    out = endoforge(installed, *looser)
    assert out.returncode == 0, out.stderr
    assert funnel(lake) == {"pale": 2, "frozen": 3, None: 3}
    kept = rows(lake, "SELECT pts_us, pack_path FROM candidates ORDER BY pts_us")
    assert [row["pts_us"] for row in kept] == [0, 2_000_000, 4_000_000]
    assert all((lake / str(row["pack_path"])).is_file() for row in kept)

    out = endoforge(installed, *looser, "--percentiles.colorfulness", "50", "--min-device-frames", "1")
    assert out.returncode == 0, out.stderr
    assert funnel(lake) == {"pale": 4, "frozen": 2, None: 2}
    assert rows(lake, "SELECT count(*) AS num FROM previews WHERE drop_reason = 'pale'") == [{"num": 3}]


PRIVATE = """
from curation.filters import FrameFilter

def fails(picture):
    raise KeyError("no such key")

SHARE = {"name": "left", "unit": "share", "bad": "high", "reason": "left_side", "threshold": 0.5}
PRIVATE = FrameFilter(score=lambda picture: picture.rgb[:, :, 0].mean() > 60, is_private=True, **SHARE)
PLAIN = FrameFilter(name="plain", unit="rows", score=lambda picture: picture.gray.shape[0])
VERSION_2 = FrameFilter(name="plain", unit="rows", score=lambda picture: picture.gray.shape[0], version=2)
FAILS = FrameFilter(score=fails, **SHARE)
PICKY = FrameFilter(score=lambda picture: fails(picture) if picture.gray.mean() > 150 else 0.0, **SHARE)
ADJUSTED = FrameFilter(score=lambda picture: 0.0, adjusted=lambda scores: scores["nothing"], **SHARE)
SAME_NAME = FrameFilter(score=fails, **SHARE | {"name": "blur"})
SAME_REASON = FrameFilter(score=fails, **SHARE | {"reason": "out_of_body_unchecked"})
NO_REASON = FrameFilter(score=fails, **SHARE | {"reason": None})
NO_FILTER = 3
"""


def with_filters(folder: Path, *names: str) -> dict[str, str]:
    """The environment in which an installed package names these records of PRIVATE as filters."""
    points = {"endoforge.filters": {name.lower(): name for name in names}}
    return package(folder / "-".join(names).lower(), "filters-of-ours", PRIVATE, points)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MISSING", "cannot be loaded (AttributeError"),
        ("NO_FILTER", "is int; name a curation.filters.FrameFilter"),
        ("SAME_NAME", "has the name 'blur', which another column has"),
        ("SAME_REASON", "has the reason 'out_of_body_unchecked', which another filter has"),
        ("NO_REASON", "has a threshold and no reason"),
    ],
)
def test_a_filter_that_cannot_be_used_is_told_before_work_begins(name: str, said: str, film: Path, tmp_path: Path) -> None:
    out = endoforge(with_filters(tmp_path, name), "ingest", str(film), "--lake", str(tmp_path / "lake"))
    assert out.returncode == 1
    (sentence,) = out.stderr.splitlines()
    assert sentence.startswith(f"endoforge: the filter '{name.lower()}' of filters-of-ours (filters_of_ours:{name}) {said}")
    assert not (tmp_path / "lake").exists()


def test_a_threshold_of_no_filter_is_refused(film: Path, tmp_path: Path) -> None:
    out = endoforge(dict(os.environ), "ingest", str(film), "--lake", str(tmp_path / "lake"), "--thresholds", "min_colorfulness", "3")
    assert out.returncode == 1
    assert "thresholds has 'min_colorfulness', which no installed filter has; give one of: none" in out.stderr


def test_the_ingest_key_follows_the_filters_and_their_versions(tmp_path: Path) -> None:
    code = "from curation.ingest import IngestConfig, ingest_key; print(ingest_key(IngestConfig()))"

    def key(environment: dict[str, str]) -> str:
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.strip()

    keys = [key(dict(os.environ)), *(key(with_filters(tmp_path, name)) for name in ("PLAIN", "VERSION_2", "PRIVATE"))]
    assert keys[0] == "a975a26b014531a40ded7463c7a5c536e5a7e80109e1a9d09cb43f3af22dedcd"
    assert len(set(keys)) == 4


@pytest.mark.slow
def test_a_private_filter_hides_its_frames_and_a_score_alone_drops_none(film: Path, tmp_path: Path) -> None:
    ours, lake = with_filters(tmp_path, "PRIVATE", "PLAIN"), tmp_path / "lake"
    out = endoforge(
        ours, "ingest", str(film), "--lake", str(lake), "--text", "off", "--max-out-of-body", "1", "--workers", "1", "--min-blur", "1e6"
    )
    assert out.returncode == 0, out.stderr
    assert funnel(lake) == {"left_side": 8}, "every frame is blurred as well: what is private counts first"
    assert rows(lake, "SELECT DISTINCT plain > 100 AS is_plain, pack_id FROM frames") == [{"is_plain": True, "pack_id": None}]
    assert rows(lake, "SELECT why, count(*) AS num FROM private_frames GROUP BY why") == [{"why": "out_of_body", "num": 8}]


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose last scene is brighter than 150."""
    return write_video(tmp_path_factory.mktemp("films") / "bright.mp4", [tissue(4), tissue(5), np.clip(tissue(6) + 90.0, 0, 255)])


def test_a_filter_that_fails_is_named_at_the_end_and_its_file_alone_is_left(film: Path, bright: Path, tmp_path: Path) -> None:
    ours, lake = with_filters(tmp_path, "PICKY"), tmp_path / "lake"
    ingest = ["ingest", str(bright), str(film), "--lake", str(lake), "--text", "off", "--runner", "serial", "--max-out-of-body", "1"]
    for num_known, (code, said) in enumerate(commands(ours, ingest, ingest)):
        assert code == 1
        assert f"2 files, {num_known} known already" in said
        assert "left for the next run: 1 files have a frame on which an installed filter fails" in said
        sentence = said.splitlines()[-1]
        assert sentence.startswith("endoforge: the filter 'picky' of filters-of-ours (filters_of_ours:PICKY) failed: KeyError: 'no such")
        assert f"(at {bright.as_uri()}); 1 of the files are left for the next run" in sentence
    with open_lake(lake, read_only=True) as opened:
        assert opened.rows("FROM rejects") == []
        assert [row["uri"] for row in opened.rows("FROM videos")] == [film.as_uri()]
        (left,) = opened.rows("SELECT uri, reason FROM left_files")
        assert left == {"uri": bright.as_uri(), "reason": "filter_failed"}
    repaired = Path(ours["PYTHONPATH"].split(os.pathsep)[0]) / "filters_of_ours.py"
    repaired.write_text(PRIVATE.replace('raise KeyError("no such key")', "return 0.0"))
    assert [code for code, _ in commands(ours, ingest)] == [0]
    with open_lake(lake, read_only=True) as opened:
        assert opened.rows("FROM left_files") == []
        assert len(opened.rows("FROM videos")) == 2


def test_a_filter_whose_adjusted_scores_fail_rejects_no_video(film: Path, tmp_path: Path) -> None:
    ours, lake = with_filters(tmp_path, "ADJUSTED"), tmp_path / "lake"
    ((code, said),) = commands(ours, ["ingest", str(film), "--lake", str(lake), "--text", "off", "--workers", "1"])
    assert code == 1
    assert "the filter 'adjusted' of filters-of-ours (filters_of_ours:ADJUSTED) failed: KeyError: 'nothing'" in said.splitlines()[-1]
    with open_lake(lake, read_only=True) as opened:
        assert opened.rows("FROM rejects") == []


def test_a_broken_filter_stops_the_commands_that_ask_it_alone(film: Path, tmp_path: Path) -> None:
    ours, at = with_filters(tmp_path, "MISSING"), ["--lake", str(tmp_path / "lake")]
    asking = (["ingest", str(film)], ["requalify"], ["run", str(film), "--size", "10", "--recipe", "smoke"])
    named = "endoforge: the filter 'missing' of filters-of-ours (filters_of_ours:MISSING) cannot be loaded (AttributeError: "
    for code, said in commands(ours, *([*command, *at] for command in asking)):
        assert code == 1
        assert said.startswith(named)
        assert said.count("\n") == 1
    ((code, said),) = commands(
        dict(os.environ), ["ingest", str(film), *at, "--text", "off", "--max-out-of-body", "1", "--runner", "serial"]
    )
    assert code == 0, said
    ((code, said),) = commands(ours, ["curate", "--plan", *at, "--name", "set", "--size", "2", "--runner", "serial"])
    assert code == 0, said
    out = endoforge(ours, "doctor", "--runner", "serial")
    assert out.returncode == 1
    (place,) = [number for number, line in enumerate(out.stdout.splitlines()) if line.startswith("WRONG  plug-in")]
    assert named.removeprefix("endoforge: ") in out.stdout.splitlines()[place + 1]
