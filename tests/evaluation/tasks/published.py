"""Full-count trees in published layouts: every file is a hard link to one picture, black and white by halves, so a mask as well."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

__all__ = ["tree"]


def tree(root: Path, names: Iterable[str]) -> Path:
    """Make a file of each name below a folder, and return the folder."""
    seeds: dict[str, Path] = {}
    made: set[str] = set()
    for name in names:
        path = f"{root}/{name}"
        folder, _, file = path.rpartition("/")
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        suffix = file.rpartition(".")[2]
        if suffix not in seeds:
            seeds[suffix] = root / f".one.{suffix}"
            picture = Image.new("RGB", (16, 16))
            picture.paste((255, 255, 255), (0, 0, 8, 16))
            picture.save(seeds[suffix])
        os.link(seeds[suffix], path)
    return root
