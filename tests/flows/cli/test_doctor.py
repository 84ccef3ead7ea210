"""What a broken installation says, in real processes."""

import os
from pathlib import Path

from tests.flows.conftest import endoforge
from warehouse.lake import open_lake


def test_without_faiss_doctor_names_it_and_other_commands_name_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "faiss.py").write_text("raise ModuleNotFoundError(\"No module named 'faiss'\", name='faiss')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {"PYTHONPATH": path, "HOME": "/proc/nowhere"}
    open_lake(tmp_path / "open", create=True).close()
    (tmp_path / "open").chmod(0o755)  # as of an earlier release
    done = endoforge("doctor", "--runner", "serial", "--lake", tmp_path / "open", env=env)
    assert done.code == 1
    lines = done.out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.split()[:2] == ["WRONG", "faiss"]]
    assert "pip install '.[cpu]'" in lines[place + 1]
    assert any(line.split()[:2] == ["ok", "home"] and "cannot be written to" in line for line in lines)
    assert any("duckdb" in line for line in lines[place:])  # and it goes on
    (place,) = [number for number, line in enumerate(lines) if line.split()[:2] == ["WRONG", "access"]]
    assert f"chmod -R g-rwx,o-rwx {tmp_path / 'open'}" in lines[place + 1]
    done = endoforge("curate", "--lake", tmp_path / "open", "--name", "x", "--size", "10", "--plan", env=env)
    assert done.code == 1
    assert "FAISS is not installed; run `pip install '.[cpu]'`" in done.err
