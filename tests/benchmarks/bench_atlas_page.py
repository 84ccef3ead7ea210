"""How the page of an atlas of a million made-up points behaves in Chromium: seconds to open, milliseconds of each action, memory.

python -m tests.benchmarks.bench_atlas_page [POINTS]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from flows.atlas.points import Atlas
from flows.atlas.script import as_script
from flows.atlas.server import PAGES, page
from tests.helpers.chromium import chromium

ACTIONS = {
    "draw": "draw(panes[0])",
    "draw while the map moves": "moving = 1; draw(panes[0]); moving = 0",
    "find the point under the mouse": "nearest(panes[0], panes[0].width / 2, panes[0].height / 2, 16)",
    "change the colour": "legend(); sort(); draw(panes[0])",
    "lasso with 200 corners over about half of the points": """choose(panes[0], Array.from({ length: 200 }, (_, k) =>
        [panes[0].width * (0.5 + Math.cos(k / 31.8) / 3), panes[0].height * (0.5 + Math.sin(k / 31.8) / 3)]))""",
}


def made(count: int) -> Atlas:
    """A map of 200 groups; it has no pictures and no vectors, which the page's first view does not ask for."""
    random = np.random.default_rng(0)
    groups = random.integers(0, 200, count)
    positions = random.random((200, 2))[groups] + random.normal(scale=0.02, size=(count, 2))
    frame_ids = tuple(f"{place // 50:016x}-35eb0c70-{place:011d}" for place in range(count))
    colours = {
        "cluster": tuple(map(str, groups.tolist())),
        "video": tuple(frame_id[:12] for frame_id in frame_ids),
        "device": tuple(f"device {group % 7}" for group in groups.tolist()),
    }
    return Atlas(
        frame_ids=frame_ids,
        seconds=tuple((np.arange(count) / 30).tolist()),
        pictures=(),
        positions=np.clip(positions, 0, 1).astype(np.float32),
        colours=colours,
        num_all=count,
        layout="",
        notes=(),
        funnel=(("sampled", count),),
        vectors=np.zeros((0, 2), np.float32),
        video_ids=frame_ids,
        videos=(),
        encoder_id="",
        encoder="",
        dataset=None,
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        folder = Path(temporary)
        for name in PAGES:
            (folder / name).write_bytes(page(name))
        size = (folder / "points.js").write_bytes(as_script(made(count)))
        print(f"{count:,} points, {size / 1e6:.0f} MB")
        for width in (1440, 390):
            shown = browser.new_page(viewport={"width": width, "height": 900})
            start = time.perf_counter()
            shown.goto((folder / "index.html").as_uri())
            shown.wait_for_selector("html[data-drawn]", state="attached", timeout=120_000)
            print(f"{width} px: opens in {time.perf_counter() - start:.1f} s")
            for name, action in ACTIONS.items():
                timed = f"(() => {{ const start = performance.now(); {action}; return performance.now() - start; }})()"
                print(f"  {name}: {median(shown.evaluate(timed) for _ in range(3)):.0f} ms")
            print(f"  heap {shown.evaluate('performance.memory.usedJSHeapSize') / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
