"""URIs where a folder of this machine is wanted: a sentence, and nothing is made."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from flows.cli.cli import COMMANDS, main
from flows.parameters import takes
from warehouse.lake import open_lake
from warehouse.local_path import local_path, refuse_uris

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


def paths_of(record: type, above: str = "") -> Iterator[tuple[tuple[type, ...], str]]:
    """Every option of a command, and of the settings within it, that is a path or several: the records around it, and its name."""
    for name, hint in get_type_hints(record).items():
        kinds = [kind for part in (hint, *get_args(hint)) for kind in (part, *get_args(part)) if isinstance(kind, type)]
        if Path in kinds:
            yield (record,), name
        for kind in kinds:
            if is_dataclass(kind):
                yield from (((record, *inner), f"{name}.{path}") for inner, path in paths_of(kind))


PATHS = [(command, records, path) for command, (record, _) in COMMANDS.items() for records, path in paths_of(record)]


def with_value(records: tuple[type, ...], path: str, value: object) -> Any:
    """A command with one option set and the others None, whatever it would need besides."""
    name, _, rest = path.partition(".")
    made: Any = object.__new__(records[0])
    for option in fields(records[0]):
        object.__setattr__(made, option.name, None)
    object.__setattr__(made, name, with_value(records[1:], rest, value) if rest else value)
    return made


def test_every_path_of_every_command_is_looked_at() -> None:
    commands = {command for command, _, _ in PATHS}
    assert commands == COMMANDS.keys()
    assert len(PATHS) > 70
    for command, records, path in PATHS:
        for value in (Path("s3://bucket/x"), (Path("here"), Path("gs://bucket/x"))):
            with pytest.raises(ValueError, match=r"://..., a URI; give a folder or file of this machine"):
                refuse_uris(with_value(records, path, value))
                pytest.fail(f"{command} takes a URI as {path}")
        refuse_uris(with_value(records, path, Path("here")))


@pytest.mark.parametrize("name", ["lake", "validation", "summary", "metrics_file"])
def test_so_is_every_path_of_a_scheduled_flow(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    @takes(["lake", "validation", "summary", "metrics_file"])
    def flow(config: object) -> str:
        return "begun"

    assert flow(lake="here", validation=["there"], summary="s.json") == "begun"
    with pytest.raises(ValueError, match=r"is s3://..., a URI"):
        flow(**{"lake": "here", name: "s3://bucket/x"})
    assert list(tmp_path.iterdir()) == []
