"""Makes the small lake that a release leaves behind, for the tests of later releases.

    python -m tests.helpers.stored_lake tests/warehouse/lakes/0.1.0.tar.xz

Two phantom videos are ingested, embedded, curated and trained on for six steps. The weights are left out: they are megabytes of noise.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video
from flows.cli.cli import main

PHANTOM = PhantomConfig(num_train_videos=2, num_eval_patients=6, seconds=5, fps=8, size=96, seed=3)
_WEIGHTS = (".safetensors", ".distcp", ".pt")


def make_stored_lake(archive: Path) -> None:
    """Write the lake, in the folder `lake` of a .tar.xz."""
    with tempfile.TemporaryDirectory() as scratch:
        videos, lake = Path(scratch, "videos"), Path(scratch, "lake")
        for patient in range(PHANTOM.num_train_videos):
            (videos / f"{patient}").mkdir(parents=True)
            render_video(videos / f"{patient}" / "film.mp4", config=PHANTOM, patient=patient)
        at = ["--lake", str(lake), "--runner", "serial"]
        for command in (
            ["ingest", str(videos), "--fps", "4", "--text", "off", *at],
            ["embed", *at],
            ["curate", "--name", "set", "--size", "8", *at],
            ["pretrain", "--dataset", "set", "--recipe", "smoke", "--train.batch-size", "8", *at],
        ):
            if code := main(command):
                raise SystemExit(f"endoforge {' '.join(command)} ended with {code}")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "w:xz", preset=9) as tar:
            tar.add(lake, "lake", filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Everything but weights, and without the maker's name."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return None if member.name.endswith(_WEIGHTS) or "/staging/" in member.name else member


if __name__ == "__main__":
    make_stored_lake(Path(sys.argv[1]))
