"""Scores of masks over whole sequences: the mean of frames, then of sequences, and the volume Dice of Endo-FM's released code.

That code counts a sequence as one volume, and has three special cases of its own: a prediction where nothing is, is right; none where
nothing is, is wrong. It is here to reproduce published figures, under a name of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from evaluation.metrics import Interval, mean_scores

__all__ = ["SEQUENCE_METRICS", "endofm_volume_dice", "sequence_means", "sequence_scores"]

VOLUME_SIDE = 224
"""pixels to which the released code brings masks"""

SEQUENCE_METRICS = ("sequence_dice", "sequence_iou", "endofm_volume_dice")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def sequence_means(values: Floats, groups: Ints) -> Floats:
    """The mean of each sequence's frames, [S], from values [N] of frames and their sequences, numbered from 0 without gaps."""
    return np.asarray(np.bincount(groups, values) / np.bincount(groups))


def endofm_volume_dice(predicted: Bools, truth: Bools) -> float:
    """Dice of two volumes as the released code counts it: 1 for a prediction where nothing is, 0 if both are empty."""
    sizes = int(predicted.sum()), int(truth.sum())
    if sizes[0] and sizes[1]:
        return 2.0 * int((predicted & truth).sum()) / sum(sizes)
    return 1.0 if sizes[0] else 0.0


def sequence_scores(
    values: Mapping[str, Floats],
    predicted: Sequence[Bools],
    truth: Sequence[Bools],
    groups: Ints,
    *,
    names: Sequence[str],
    num_bootstrap: int,
    seed: int,
) -> dict[str, Interval]:
    """The named metrics of sequences, each of which counts alike, with 95% intervals over them.

    Args:
        values: `dice` and `iou` of each frame, [N] each.
        predicted: masks of N frames, [H, W] each.
        truth: the true ones.
        groups: [N] sequences, numbered from 0 without gaps.
        names: metrics; those that are not of sequences are passed over.
        num_bootstrap: draws of an interval that is bootstrapped.
        seed: of them.
    """
    found: dict[str, Floats] = {name: sequence_means(values[name[9:]], groups) for name in names if name in SEQUENCE_METRICS[:2]}
    if "endofm_volume_dice" in names:
        at = [np.flatnonzero(groups == number).tolist() for number in range(int(groups.max()) + 1)]
        found["endofm_volume_dice"] = np.array(
            [endofm_volume_dice(*(np.stack([_small(masks[n]) for n in rows]) for masks in (predicted, truth))) for rows in at]
        )
    return {
        name: mean_scores(means, np.arange(len(means)), num_bootstrap=num_bootstrap, seed=seed) for name, means in sorted(found.items())
    }


def _small(mask: Bools) -> Bools:
    resized = cv2.resize(mask.astype(np.uint8), (VOLUME_SIDE, VOLUME_SIDE), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.bool_)
