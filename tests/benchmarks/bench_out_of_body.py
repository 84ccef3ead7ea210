"""How many frames are dropped as out of body: tissue in simulated imaging modes, and photographs seen through a scope.

Usage: python tests/benchmarks/bench_out_of_body.py --tissue FOLDER [FOLDER ...] --photos FOLDER [--fit]

"Colour" is the score before structure was looked at, "1 fps" and "stills" that of both, with and without neighbours in time. "5 fps"
has each frame five times, five to the second. Tissue is measured alone (one mode), inserted (30 frames for as many of 100 in white light,
at three places), as stays of eight frames in a row, each a video, and as single pictures, each by itself. Each photograph becomes a
segment of eight views, blurred, darkened, lit from the scope or tinted, inside a circle, an octagon or the whole frame. In the rows
"among" all eight views, or one, stand among 40 frames of tissue, in the same light or in white light. `--fit` fits weights as those of
curation/filters/tissue_structure.py to one half of the tissue and photographs (by turns of file name) and prints them; the figures are of
the other half, or of the same with `--fit-half`, by the weights in the code. The last line is the cost of structure beside the other
filters. Modes are simulated: real ones remain to be measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from curation.filters.exposure import bright_share
from curation.filters.frame_filter import Picture
from curation.filters.imaging_mode import ALL_WARM, warm_share
from curation.filters.phash import perceptual_hash
from curation.filters.picture import shrink
from curation.filters.registry import measure
from curation.filters.tissue_structure import room_evidence, room_scores, structure_features
from curation.ingest.config import IngestConfig
from curation.ingest.decide import outside_scores
from curation.ingest.survey import survey_pictures
from curation.privacy.out_of_body import color_profile, out_of_body_scores

SIDE = 352
LIMIT = IngestConfig().max_out_of_body
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One frame's colours and structure."""

    profile: np.ndarray
    evidence: float
    bright_share: float


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

SAME_LIGHT = {"grey": "grey", "green light": "green narrow band", "blue light": "teal narrow band"}  # of photographs and of tissue
AMONG_WHITE = ("plain", "lit by the scope", "grey", "warm light")
WAYS = ("colour", "1 fps", "5 fps", "stills")  # by colour alone; the others by colour and structure
PLACES = ("alone", "inserted", "stays", "single")


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
    """What `curation.ingest.scan` measures of a frame."""
    profile, gray = color_profile(rgb, mask), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    evidence = float("nan") if warm_share(profile) >= ALL_WARM else room_evidence(structure_features(gray, mask))
    return Seen(profile=profile, evidence=evidence, bright_share=bright_share(gray, mask))


def dropped(frames: Sequence[Seen]) -> np.ndarray:
    """[num_frames, 4] bool: dropped by each of WAYS. Nothing is smoothed over time."""
    profiles = [frame.profile for frame in frames]
    by_color = out_of_body_scores(profiles)
    evidence, bright = (np.array([getattr(frame, name) for frame in frames]) for name in ("evidence", "bright_share"))
    times = np.arange(5 * len(frames))
    often = outside_scores(
        [profile for profile in profiles for _ in range(5)], np.repeat(evidence, 5), np.repeat(bright, 5), times_s=times / 5
    )
    once, stills = (outside_scores(profiles, evidence, bright, times_s=each) for each in (times[: len(frames)], None))
    scores = np.stack([by_color, once, often[2::5], stills], axis=1)
    return np.asarray((scores > LIMIT) | np.isnan(by_color)[:, None])


def _tissue_dropped(white: Sequence[Seen], shown: Sequence[Seen]) -> dict[str, np.ndarray]:
    """For each of PLACES the verdicts of `dropped` on frames of one mode."""
    inserted = [dropped([*white[:at], *shown[at : at + 30], *white[at + 30 : 100]])[at : at + 30] for at in (0, 35, 70)]
    stays = [dropped(shown[start : start + 8]) for start in range(0, len(shown), 8)]
    parts = {"alone": [dropped(shown)], "inserted": inserted, "stays": stays, "single": [dropped([frame]) for frame in shown]}
    return {place: np.concatenate(verdicts) for place, verdicts in parts.items()}


def _print_cost(crops: Sequence[np.ndarray], mask: np.ndarray) -> None:
    """Process time of each frame of `crops`, in ms."""
    grays = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]
    start = time.process_time()
    for crop, gray in zip(crops, grays, strict=True):
        measure(Picture(rgb=crop, gray=gray, previous=gray, mask=mask))
        color_profile(crop, mask)
        perceptual_hash(gray, mask)
    filtered = time.process_time()
    evidence = [room_evidence(structure_features(gray, mask)) for gray in grays]
    seen_at = time.process_time()
    room_scores(evidence, np.zeros(len(evidence), bool), times_s=np.arange(len(evidence)))
    times = {"filters": filtered - start, "structure": seen_at - filtered, "room_scores": time.process_time() - seen_at}
    print(f"ms a frame of {mask.shape[1]}x{mask.shape[0]}:", *(f"{name} {1000 * each / len(crops):.2f}" for name, each in times.items()))


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
    parser.add_argument("--fit-half", action="store_true", help="measure on the half that weights and constants were chosen on")
    arguments = parser.parse_args()
    rng, half = np.random.default_rng(0), 0 if arguments.fit_half else 1
    tissue: list[np.ndarray] = []
    lost: dict[tuple[str, str], list[np.ndarray]] = {}
    around: dict[str, list[Seen]] = {}
    for folder in arguments.tissue:
        frames = _of_folder(folder)
        crops, of_tissue = cropped(frames[:: max(1, len(frames) // arguments.num_tissue)], in_time=False)
        for crop in crops[::2] if arguments.fit else []:
            for gray in (cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), crop[..., 1], cv2.cvtColor(crop // 2, cv2.COLOR_RGB2GRAY)):
                tissue.append(structure_features(_jittered(gray, rng), of_tissue))
        white = [seen(crop, of_tissue) for crop in crops[half::2]]
        for mode, recolored in MODES.items():
            shown = [seen(recolored(crop), of_tissue) for crop in crops[half::2]]
            around.setdefault(mode, shown[:40])
            for place, verdicts in _tissue_dropped(white, shown).items():
                lost.setdefault((mode, place), []).append(verdicts)
    columns = "".join(f"{way:>7s}" for way in WAYS)
    print(f"{'tissue dropped, %':20s}" + "".join(f"{place:>10s}:{columns}" for place in PLACES))
    for mode in MODES:
        shares = [100 * np.concatenate(lost[mode, place]).mean(axis=0) for place in PLACES]
        print(f"{mode:20s}" + "".join(" " * 11 + "".join(f"{share:7.1f}" for share in each) for each in shares))
    rooms: list[np.ndarray] = []
    found: dict[str, list[np.ndarray]] = {light: [] for light in LIGHTS}
    for number, photo in enumerate(_of_folder(arguments.photos)):
        for order, light in enumerate(LIGHTS if number % 2 == half or arguments.fit else ()):
            views, mask = cropped(segment(photo, light, np.random.default_rng([number, order])), in_time=True)
            if arguments.fit and number % 2 == 0:
                rooms += [structure_features(_jittered(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), rng), mask) for view in views[::4]]
            if number % 2 != half:
                continue
            room = [seen(view, mask) for view in views]
            found[light].append(dropped(room))
            others = {f"{light}, {{}} among tissue of the same light": SAME_LIGHT[light]} if light in SAME_LIGHT else {}
            others |= {f"{light}, {{}} among white light": "white light"} if light in AMONG_WHITE else {}
            for label, mode in others.items():
                for num_views in (8, 1):
                    among = dropped([*around[mode][:20], *room[:num_views], *around[mode][20:]])[20 : 20 + num_views]
                    found.setdefault(label.format(num_views), []).append(among)
    print(f"{'photographs found, %':46s}{columns}")
    for label, parts in found.items():
        recall = 100 * np.concatenate(parts).mean(axis=0) if parts else np.zeros(len(WAYS))
        print(f"{label:46s}" + "".join(f"{share:7.1f}" for share in recall))
    _print_cost(crops, of_tissue)
    if arguments.fit:
        fit(np.array(tissue), np.array(rooms))


if __name__ == "__main__":
    main()
