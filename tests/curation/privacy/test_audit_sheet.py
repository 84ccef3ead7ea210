import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from curation.privacy.audit_sheet import AuditSheet, SheetPicture, render_sheet, upper_bound
from tests.helpers.chromium import chromium, watched

HOSTILE = "</script><script>alert(1)</script>'\"&{{ 7*7 }}"


def jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 48), (value % 256, 40, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def sheet(num_pictures: int = 30, scope: str = "all frames that the filters kept") -> AuditSheet:
    return AuditSheet(
        audit_id="0123456789abcdef",
        scope=scope,
        num_frames_in_scope=12345,
        seed=7,
        num_random=(num_pictures + 1) // 2,
        pictures=tuple(SheetPicture(frame_id=f"video-key-{number:03d}", jpeg=jpeg(number)) for number in range(num_pictures)),
    )


@pytest.mark.parametrize(
    ("num_found", "num_frames", "bound"),
    [(0, 100, 1 - 0.05 ** (1 / 100)), (0, 1, 0.95), (1, 100, 0.0465598), (5, 5, 1.0), (0, 0, 1.0)],
)
def test_the_bound_is_clopper_and_pearsons(num_found: int, num_frames: int, bound: float) -> None:
    assert upper_bound(num_found, num_frames) == pytest.approx(bound, abs=1e-6)


def test_more_found_than_looked_at_is_refused() -> None:
    with pytest.raises(ValueError, match="got 4 found frames of 3"):
        upper_bound(4, 3)


def test_a_sheet_holds_its_pictures_and_says_what_they_prove(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        render_sheet(sheet(200), tmp_path / name)
    page = (tmp_path / "a.html").read_text()
    assert (tmp_path / "b.html").read_text() == page
    assert len(json.loads(re.findall(r'id="pictures">(.*?)</script>', page)[0])) == 200
    assert re.search(r"0 of 100 found:</td><td>at most 3\.0%", page)
    assert "12,345 frames" in page


def test_a_browser_shows_marks_and_enlarges_frames_without_a_request(tmp_path: Path) -> None:
    path = tmp_path / "sheet.html"
    render_sheet(sheet(30, scope=HOSTILE), path)
    with chromium() as browser:
        page = browser.new_page()
        problems, requests = watched(page)
        page.goto(path.as_uri())
        command = page.locator("#command")
        assert page.locator("#grid img").count() == 24
        assert command.text_content() == "pages to see before signing: 1"
        for key in ("ArrowRight", "x", "Enter"):
            page.keyboard.press(key)
        assert page.locator("dialog img").evaluate("image => [image.naturalWidth, image.clientWidth]") == [60, 60]
        assert page.locator("dialog p").text_content() == "2: video-key-001, found"
        for key in ("ArrowRight", "x", "x", "Escape", "PageDown", "x"):
            page.keyboard.press(key)
        assert page.locator("#grid img").evaluate_all("images => images.map(image => image.naturalWidth)") == [60] * 6
        signing = 'endoforge privacy-audit --lake LAKE --sign-off 0123456789abcdef --reviewer "YOUR NAME" --found 2 25'
        assert command.text_content() == signing
        page.reload()
        page.get_by_text("Next page").click()
        assert command.text_content() == signing
    assert problems == []
    assert [url.partition("#")[0] for url in requests if not url.startswith("data:")] == [path.as_uri()] * 2  # opened, then reloaded
