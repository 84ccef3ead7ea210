"""Modes of what a lake writes, and who is told otherwise."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.cli import main
from warehouse.lake import open_lake
from warehouse.private_files import as_invoked, file_mask, kept_private


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_lake_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    open_lake(tmp_path / "above" / "lake", create=True).close()
    assert (mode(tmp_path / "above" / "lake"), mode(tmp_path / "above")) == (0o700, 0o755)
    open_lake(tmp_path / "above" / "lake", create=True).close()
    (tmp_path / "mine").mkdir()
    open_lake(tmp_path / "mine", create=True).close()
    assert mode(tmp_path / "mine") == 0o755


@pytest.mark.parametrize(("told", "of_file", "of_folder"), [("", 0o600, 0o700), ("027", 0o640, 0o750)])
def test_all_in_it_is_as_the_variable_says_and_a_monitors_file_is_as_the_person_has_it(
    told: str, of_file: int, of_folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDOFORGE_UMASK", told)
    lake, gauges = tmp_path / "lake", tmp_path / "gauges" / "endoforge.prom"
    with kept_private():
        open_lake(lake, create=True).close()
        subprocess.run([sys.executable, "-c", "import pathlib; pathlib.Path('child').mkdir()"], check=True, cwd=lake)
    assert main(["maintain", "--lake", str(lake), "--metrics-file", str(gauges)]) == 0
    made = [lake, *lake.rglob("*")]
    assert "child" in {path.name for path in made}
    assert any(path.suffix == ".parquet" for path in made)
    assert {mode(path) for path in made if path.is_dir()} == {of_folder}
    assert {mode(path) for path in made if path.is_file()} == {of_file}
    assert mode(gauges) == 0o644


def test_inside_another_the_persons_own_umask_is_still_known() -> None:
    with kept_private(), kept_private(), as_invoked():
        assert os.umask(0o022) == 0o022
    with as_invoked():
        assert os.umask(0o022) == 0o022


@pytest.mark.parametrize("told", ["0o77", "78", "-7", "177", "00077", "none"])
def test_what_is_no_mask_is_refused(told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ENDOFORGE_UMASK", told)
    with pytest.raises(ValueError, match="give three octal digits"):
        file_mask()
    assert main(["tables"]) == 1
    assert f"ENDOFORGE_UMASK is {told!r}" in capsys.readouterr().err
