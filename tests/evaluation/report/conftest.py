"""Pages looked at in a browser: where their cells lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.chromium import chromium

_BOXES = """() => [...document.querySelectorAll('table')].flatMap(table => {
    const card = table.closest('section').getBoundingClientRect();
    const cells = [...table.querySelectorAll('th, td')].filter(cell => cell.getClientRects().length);
    const outside = cells.filter(cell => {
        const box = cell.getBoundingClientRect();
        return box.left < card.left - 1 || box.right > card.right + 1 || cell.scrollWidth > cell.clientWidth + 1;
    });
    const heights = [...table.querySelectorAll('tr')].map(row => row.getBoundingClientRect().height);
    return [{section: table.closest('section').id, outside: outside.map(cell => cell.textContent.trim()), tallest: Math.max(...heights),
             shown: cells.length}];
})"""


@pytest.fixture
def tables_at() -> Callable[..., dict[int, list[dict[str, Any]]]]:
    """Tables of a page by window width: which cells lie outside their card, the tallest row, and how many cells are shown.

    What can be opened is open. No page may be wider than its window.
    """

    def look(path: Path, *widths: int, wait_for: str = "body", screenshots: Path | None = None) -> dict[int, list[dict[str, Any]]]:
        found = {}
        with chromium() as browser:
            for width in widths:
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.goto(path.as_uri())
                page.wait_for_selector(wait_for, state="attached")
                page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
                found[width] = page.evaluate(_BOXES)
                if screenshots is not None:
                    page.screenshot(path=screenshots / f"{path.stem}-{width}.png", full_page=True)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                page.close()
        return found

    return look
