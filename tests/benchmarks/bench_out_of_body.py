"""How many frames are dropped as out of body: tissue in simulated imaging modes, and photographs seen through a scope.

Usage: python tests/benchmarks/bench_out_of_body.py --tissue FOLDER [FOLDER ...] --photos FOLDER [--fit]

"By colour" is the score before structure was looked at, "now" the lower of both. Tissue is measured alone (a video of one mode) and
inserted (30 frames among 70 in white light). Each photograph becomes a segment of eight views, blurred, darkened, lit from the scope or
tinted, inside a circle, an octagon or the whole frame. `--fit` fits weights as those of curation/tissue_structure.py to one half of the
tissue and photographs (by turns of file name) and prints them; the figures are always of the other half, by the weights in the code.
Modes are simulated: real ones remain to be measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from curation.config import IngestConfig
from curation.imaging_mode import imaging_mode, median_saturation, warm_share
from curation.privacy import color_profile, out_of_body_scores
from curation.quality import shrink
from curation.survey import survey_pictures
from curation.tissue_structure import room_evidence, room_scores, structure_features

SIDE = 352
LIMIT = IngestConfig().max_out_of_body
LUMA = np.array([0.299, 0.587, 0.114])
SURELY_WARM = 0.7  # as in curation/scan.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One frame's colours and structure."""

    profile: np.ndarray
    mode: str
    evidence: float


def _mixed(red: Sequence[float], green: Sequence[float], blue: Sequence[float]) -> Callable[[np.ndarray], np.ndarray]:
    matrix = np.array([red, green, blue])
    return lambda rgb: np.asarray(np.clip(rgb @ matrix.T, 0, 255).astype(np.uint8))


def _patchy_dye(rgb: np.ndarray) -> np.ndarray:
    """Blue dye that pools in places."""
    amount = cv2.GaussianBlur(np.random.default_rng(1).random(rgb.shape[:2]).astype(np.float32), (0, 0), 12)
    amount = 1.2 * (amount - amount.min()) / (amount.max() - amount.min() + 1e-6)
    return np.asarray((rgb * np.array([0.42, 0.7, 0.95]) ** amount[..., None]).astype(np.uint8))


MODES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "white light": _mixed((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "brown narrow band": _mixed((0, 1.3, 0), (0, 0.6, 0.55), (0, 0, 0.95)),
    "green narrow band": _mixed((0, 0.8, 0), (0, 1.2, 0), (0, 0.2, 0.8)),
    "teal narrow band": _mixed((0, 0.65, 0), (0, 1.1, 0), (0, 0.2, 1.1)),
    "pale narrow band": _mixed((0, 0.9, 0), (0, 0.5, 0.45), (0, 0.4, 0.6)),
    "dye, patchy": _patchy_dye,
    "dye, strong": _mixed((0.2, 0.2, 0.05), (0.1, 0.6, 0.1), (0.1, 0.6, 0.5)),
    "fluorescence": _mixed((0, 0.02, 0), (0.3, 0.55, 0.1), (0, 0.02, 0)),
    "autofluorescence": _mixed((0.55, 0, 0), (0, 0.95, 0), (0, 0.8, 0)),
    "acid, pale": _mixed((0.55, 0.45, 0.1), (0.2, 0.8, 0.1), (0.2, 0.45, 0.45)),
    "grey": _mixed(LUMA.tolist(), LUMA.tolist(), LUMA.tolist()),
}


def _falloff(strength: float) -> np.ndarray:
    rows, columns = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE * 2 - 1
    return np.asarray((1 / (1 + strength * (rows**2 + columns**2)))[..., None])


def _blurred(rgb: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), sigma))


LIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda rgb: rgb,
    "vignette": lambda rgb: rgb * _falloff(0.8),
    "out of focus": lambda rgb: _blurred(rgb, 3) * _falloff(0.5),
    "dark": lambda rgb: 0.35 * rgb * _falloff(0.3),
    "lit by the scope": lambda rgb: 1.5 * _blurred(rgb, 1.2) * _falloff(4),
    "grey": lambda rgb: (rgb @ LUMA)[..., None] * np.ones(3) * _falloff(0.5),
    "grey, out of focus": lambda rgb: _blurred((rgb @ LUMA)[..., None] * np.ones(3), 3) * _falloff(0.8),
    "green light": lambda rgb: rgb * np.array([0.35, 1, 0.45]) * _falloff(0.5),
    "blue light": lambda rgb: rgb * np.array([0.4, 0.75, 1.1]) * _falloff(0.5),
    "green alone": lambda rgb: (rgb @ LUMA)[..., None] * np.array([0.08, 0.95, 0.1]) * _falloff(0.5),
    "warm light": lambda rgb: rgb * np.array([1.1, 0.8, 0.5]) * _falloff(0.5),
}


def _area(number: int) -> np.ndarray:
    rows, columns = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE * 2 - 1
    octagon = (abs(columns) < 0.95) & (abs(rows) < 0.92) & (abs(columns) + abs(rows) < 1.45)
    return np.asarray((rows**2 + columns**2 < 0.96**2, octagon, np.ones((SIDE, SIDE), bool))[number % 3])


def segment(photo: np.ndarray, light: str, rng: np.random.Generator, num_views: int = 8) -> list[np.ndarray]:
    """Views of a photograph [height, width, 3] by a moving scope, [352, 352, 3] uint8 each."""
    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.55, 0.95))
    phase, inside = rng.uniform(0, 6, 2), _area(int(rng.integers(3)))
    views = []
    for step in range(num_views):
        x, y = (int((room - side) * (0.5 + 0.5 * np.sin(0.45 * step + at))) for room, at in zip((width, height), phase, strict=True))
        view = cv2.resize(photo[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        noisy = LIGHTS[light](view) + rng.normal(0, rng.uniform(0.5, 3), (SIDE, SIDE, 3))
        views.append((np.clip(noisy, 0, 255) * inside[..., None]).astype(np.uint8))
    return views


def cropped(frames: Sequence[np.ndarray], *, in_time: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of one size as the filters see them, and the filter mask."""
    step = -(-len(frames) // 8)
    survey = survey_pictures(frames[::step], (frames[0].shape[1], frames[0].shape[0]), IngestConfig(text="off"), in_time=in_time)
    area, size = survey.geometry.area, survey.geometry.filter_size
    crops = [shrink(frame[area.y : area.y + area.height, area.x : area.x + area.width], *size) for frame in frames]
    return crops, survey.geometry.filter_mask


def seen(rgb: np.ndarray, mask: np.ndarray) -> Seen:
    """What `curation.scan` measures of a frame."""
    profile = color_profile(rgb, mask)
    mode = imaging_mode(profile, median_saturation(rgb, mask))
    is_warm = warm_share(profile) >= SURELY_WARM
    evidence = float("nan") if is_warm else room_evidence(structure_features(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), mask))
    return Seen(profile=profile, mode=mode, evidence=evidence)


def dropped(frames: Sequence[Seen]) -> np.ndarray:
    """[num_frames, 2] bool: dropped by colour alone, and by colour and structure. Nothing is smoothed over time."""
    by_color = out_of_body_scores([frame.profile for frame in frames])
    both = np.minimum(by_color, room_scores([frame.evidence for frame in frames], [frame.mode for frame in frames]))
    return np.asarray(np.stack([by_color > LIMIT, both > LIMIT], axis=1) | np.isnan(by_color)[:, None])


def fit(tissue: np.ndarray, rooms: np.ndarray) -> None:
    """Print weights and intercept of a logistic regression over features, [num_frames, 14] of each; both classes weigh the same."""
    features, labels = np.concatenate([tissue, rooms]), np.repeat([0, 1], [len(tissue), len(rooms)])
    is_known = ~np.isnan(features).any(axis=1)
    scaler = StandardScaler().fit(features[is_known])
    model = LogisticRegression(C=0.3, max_iter=3000, class_weight="balanced").fit(scaler.transform(features[is_known]), labels[is_known])
    weights = model.coef_[0] / scaler.scale_
    print("weights", weights.round(4).tolist(), "intercept", round(float(model.intercept_[0] - weights @ scaler.mean_), 4))


def _jittered(gray: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise and blur, so that neither tells one data set from another."""
    soft = cv2.GaussianBlur(gray, (0, 0), rng.uniform(0.3, 1.2))
    return np.asarray(np.clip(soft + rng.normal(0, rng.uniform(0, 3), gray.shape), 0, 255).astype(np.uint8))


def _read(path: Path) -> np.ndarray | None:
    picture = cv2.imread(str(path))
    return None if picture is None or min(picture.shape[:2]) < 100 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _of_folder(folder: Path) -> list[np.ndarray]:
    return [picture for path in sorted(folder.iterdir()) if path.is_file() and (picture := _read(path)) is not None]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissue", type=Path, nargs="+", required=True, help="folders of white-light frames, all of one size in each")
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--num-tissue", type=int, default=200, help="frames of each folder at most")
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    tissue: list[np.ndarray] = []
    counts = {mode: np.zeros((2, 2)) for mode in MODES}
    num = {mode: np.zeros(2) for mode in MODES}
    for folder in arguments.tissue:
        frames = _of_folder(folder)
        crops, mask = cropped(frames[:: max(1, len(frames) // arguments.num_tissue)], in_time=False)
        for crop in crops[::2] if arguments.fit else []:
            for gray in (cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), crop[..., 1], cv2.cvtColor(crop // 2, cv2.COLOR_RGB2GRAY)):
                tissue.append(structure_features(_jittered(gray, rng), mask))
        white = [seen(crop, mask) for crop in crops[1::2]]
        for mode, recolored in MODES.items():
            shown = [seen(recolored(crop), mask) for crop in crops[1::2]]
            inserted = dropped([*white[:35], *shown[35:65], *white[65:100]])[35:65]
            for place, verdict in enumerate((dropped(shown), inserted)):
                counts[mode][place] += verdict.sum(axis=0)
                num[mode][place] += len(verdict)
    print(f"{'tissue':20s}{'alone: by colour':>18s}{'now':>8s}{'inserted: by colour':>22s}{'now':>8s}")
    for mode in MODES:
        shares = counts[mode] / np.maximum(num[mode], 1)[:, None]
        print(f"{mode:20s}{shares[0, 0]:18.1%}{shares[0, 1]:8.1%}{shares[1, 0]:22.1%}{shares[1, 1]:8.1%}")
    rooms: list[np.ndarray] = []
    found: dict[str, list[np.ndarray]] = {light: [] for light in LIGHTS}
    for number, photo in enumerate(_of_folder(arguments.photos)):
        for place, light in enumerate(LIGHTS):
            crops, mask = cropped(segment(photo, light, np.random.default_rng([number, place])), in_time=True)
            if number % 2:
                found[light].append(dropped([seen(crop, mask) for crop in crops]))
            elif arguments.fit:
                rooms += [structure_features(_jittered(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), rng), mask) for crop in crops[::4]]
    print(f"{'photographs':20s}{'recall: by colour':>18s}{'now':>8s}")
    for light, verdicts in found.items():
        recall = np.concatenate(verdicts).mean(axis=0) if verdicts else np.zeros(2)
        print(f"{light:20s}{recall[0]:18.1%}{recall[1]:8.1%}")
    if arguments.fit:
        fit(np.array(tissue), np.array(rooms))


if __name__ == "__main__":
    main()
