"""The divisions of SSL4GIE: images in the order of their paths, drawn one by one with seed 42, 80/10/10.

Its released code (github.com/ESandML/SSL4GIE at 2c7f122) sorts the paths and calls scikit-learn's `train_test_split` twice with
`random_state=42`. A tenth of all images is the test split, and a tenth of all images, taken from the rest, the validation split. Two
frames of one examination fall into different splits as chance has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evaluation.tasks.items import Item, TaskError

__all__ = ["draw_image_level"]


def draw_image_level(task: str, items: Sequence[Item], order: Sequence[str], *, published: int) -> list[Item]:
    """Divide items as SSL4GIE does.

    Args:
        task: its name, for errors.
        items: all images, in any order.
        order: of each item, the text by which that code sorts.
        published: number of images; with another number the draw gives other splits.

    Raises:
        TaskError: there are more images or fewer.
    """
    if len(items) != published:
        raise TaskError(
            f"task {task}: protocol ssl4gie is drawn from {published:,} images, and there are {len(items):,}; complete the download"
        )
    from sklearn.model_selection import train_test_split  # takes a second

    by_path = [items[i] for i in sorted(range(len(items)), key=lambda i: order[i])]
    tenth = round(0.1 * published)
    rest, test = train_test_split(list(range(published)), test_size=tenth, random_state=42)
    _, val = train_test_split(rest, test_size=tenth, random_state=42)
    splits = dict.fromkeys(map(int, test), "test") | dict.fromkeys(map(int, val), "val")
    return [replace(item, split=splits.get(i, "train")) for i, item in enumerate(by_path)]
