"""The documentation's own text, run against a lake that was copied, changed and moved."""

import re
import shutil
from pathlib import Path
from typing import Any

from tests.helpers.rows import sparse_row
from warehouse.lake import open_lake
from warehouse.lineage import RunContext, plan_run, record_run

PAGE = Path(__file__).parents[2] / "docs" / "lake.md"


def add_reject(lake: Path, uri: str, *, create: bool = False) -> None:
    with open_lake(lake, create=create) as opened:
        with record_run(opened, plan_run(stage="s", version=1, config={"uri": uri}, inputs=[]), RunContext(runner="serial")) as run:
            run.rows("rejects", [sparse_row("rejects", uri=uri)])


def rejects_by_the_snippet(lake: Path) -> set[str]:
    (snippet,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "demo/lake/catalog.sqlite" in code]
    names: dict[str, Any] = {}
    exec(snippet.replace("demo/lake", str(lake)), names)
    return {uri for (uri,) in names["lake"].sql("SELECT uri FROM lake.rejects").fetchall()}


def test_the_duckdb_snippet_reads_a_copied_and_moved_lake_and_not_the_one_it_came_from(tmp_path: Path) -> None:
    first, copy, moved = tmp_path / "first", tmp_path / "copy", tmp_path / "moved"
    add_reject(first, "in both", create=True)
    shutil.copytree(first, copy)
    add_reject(copy, "in the copy")
    add_reject(first, "in the first")
    copy.rename(moved)
    assert rejects_by_the_snippet(first) == {"in both", "in the first"}
    assert rejects_by_the_snippet(moved) == {"in both", "in the copy"}
    shutil.rmtree(first)
    assert rejects_by_the_snippet(moved) == {"in both", "in the copy"}
