"""How good features are without labels: whether two views of an image find each other, and how many dimensions are in use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from evaluation.backbone import Backbone, features_of

__all__ = ["Views", "effective_rank", "view_matching", "view_scores"]

Views = Callable[[], Iterable[npt.NDArray[np.uint8]]]
"""Gives batches of (2, images, side, side, 3) RGB, both views of an image at the same place."""

_EQUAL = 1e-6  # cosines nearer than this are equal to float32 rounding
_EPSILON = 1e-7


def view_scores(backbone: Backbone, views: Views) -> dict[str, float]:
    """Scores of a backbone's class features on pairs of views.

    Returns:
        `matching`, the share of views whose nearest among the other views is of the same image; `matching_chance`, what it is by chance;
        `effective_rank`, that of all features together.
    """
    firsts, seconds = [], []
    for pixels in views():
        features = torch.from_numpy(features_of(backbone, pixels.reshape(-1, *pixels.shape[2:]))["last"])
        firsts.append(features[: pixels.shape[1]])
        seconds.append(features[pixels.shape[1] :])
    first, second = torch.cat(firsts), torch.cat(seconds)
    return {
        "matching": view_matching(first, second),
        "matching_chance": 1 / len(first),
        "effective_rank": effective_rank(torch.cat([first, second])),
    }


@torch.inference_mode()
def view_matching(first: torch.Tensor, second: torch.Tensor) -> float:
    """Share of views whose nearest by cosine among the other view of all images is that of its own image, both ways.

    Of views that are equally near, one is taken by chance: its own counts by one over their number. So features that are all equal
    score 1 / N, the chance level, and not 1.

    Args:
        first: [N, D] features of one view of each image.
        second: [N, D] of the other, in the same order.

    Returns:
        A value in [0, 1]; 0 if a feature is not finite, so that a run which diverges goes on to the error that says so.
    """
    similarity = F.normalize(first.double(), dim=1) @ F.normalize(second.double(), dim=1).T
    if not similarity.isfinite().all():
        return 0.0
    shares = []
    for near in (similarity, similarity.T):
        nearest = near >= near.amax(dim=1, keepdim=True) - _EQUAL
        shares.append((nearest.diagonal().double() / nearest.sum(dim=1)).mean())
    return float(torch.stack(shares).mean())


@torch.inference_mode()
def effective_rank(features: torch.Tensor) -> float:
    """RankMe: the exponential of the entropy of singular values that are divided by their sum.

    It is between 1 (all features on one line, or equal) and the smaller side of the matrix. Nothing is subtracted from the features.
    Source: Garrido et al. 2023, "RankMe", equations 1 and 2, with their 1e-7 added to each share.

    Args:
        features: [N, D].

    Returns:
        Not a number if a feature is not finite.
    """
    if not features.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(features.double())
    total = float(values.sum())
    if total == 0:
        return 1.0
    shares = values / total + _EPSILON
    return float(torch.special.entr(shares).sum().exp())
