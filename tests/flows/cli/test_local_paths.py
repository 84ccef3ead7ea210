"""URIs where a folder of this machine is wanted: a sentence, and nothing is made."""

from pathlib import Path

import pytest

from flows.cli.cli import main
from warehouse.lake import open_lake
from warehouse.local_path import local_path

URIS = ("s3://bucket/lake", "gs://bucket/lake", "file:///srv/lake", "http://host/lake", "S3://bucket/lake")


@pytest.mark.parametrize(
    "words",
    [
        *(("ingest", "clip.mp4", "--lake", uri) for uri in URIS),
        ("run", "clip.mp4", "--lake", URIS[0], "--size", "10", "--recipe", "smoke"),
        ("run", "clip.mp4", "--lake", "lake", "--size", "10", "--recipe", "smoke", "--validation", URIS[0]),
        ("demo", "--out", URIS[0]),
        ("sql", "SELECT 1", "--lake", URIS[1]),
        ("export", "set", "--lake", "lake", "--format", "parquet", "--out", URIS[0]),
        ("report", "--lake", "lake", "--out", URIS[0]),
        ("doctor", "--lake", URIS[0]),
    ],
)
def test_a_uri_is_refused_before_anything_is_made(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(list(words)) == 1
    assert "://..., a URI; give a folder or file of this machine" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", URIS)
def test_a_flow_that_opens_a_lake_is_refused_too(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"the lake is .*, a URI"):
        open_lake(uri, create=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["lake", "/a:/b", "ward 7: lake", "a:b", "C:/x"])
def test_a_path_with_a_colon_is_a_path(path: str) -> None:
    assert local_path(path, what="x") == Path(path)
