"""How often a head says the same of a lake's stored vectors, as the atlas shows it, and of whole frames, as `endoforge predict` does.

Stored vectors have unit length and show what the encoder's own crop leaves of a frame; a head learned from whole frames, squeezed.

    python -m tests.benchmarks.bench_atlas_heads demo/lake
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from curation.packs import read_frame
from evaluation.backbone import ModelRef, features_of, load_backbone
from evaluation.heads import load_head
from evaluation.images import jpeg_image
from flows.atlas.most_points import MAX_POINTS
from flows.atlas.points import Atlas, read_atlas
from flows.atlas.prediction import predicted
from warehouse.lake import open_lake

BATCH = 16


def whole_frames(atlas: Atlas, backbone_folder: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The features of the map's frames as an evaluation takes them."""
    backbone = load_backbone(ModelRef(model_id="", label="", path=str(backbone_folder)), device="cpu")
    found = []
    for start in range(0, len(atlas.pictures), BATCH):
        jpegs = [read_frame(each.pack_path, each.byte_offset, each.byte_size) for each in atlas.pictures[start : start + BATCH]]
        pixels = np.stack([jpeg_image(jpeg, size=backbone.image_size, interpolation=backbone.interpolation) for jpeg in jpegs])
        found.append(features_of(backbone, pixels))
    return {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}


def main() -> None:
    with open_lake(Path(sys.argv[1]), read_only=True) as lake:
        atlas = read_atlas(lake, encoder=None, dataset=None, most=MAX_POINTS, layout="pca")
    for shown in atlas.predictions:
        told = json.loads(shown.head.path.with_suffix(".json").read_text())
        features = whole_frames(atlas, lake.root / told["backbone"]["path"])
        lengths = np.linalg.norm(features["last"], axis=1, keepdims=True)
        said = load_head(shown.head.path, device=torch.device("cpu")).probabilities(features).argmax(axis=1)  # type: ignore[union-attr]
        words = np.asarray(shown.head.classes)[said]
        same = np.mean(np.asarray(shown.words) == words)
        uncropped = np.mean(np.asarray(predicted(shown.head, features["last"] / lengths).words) == words)
        print(f"{shown.head.said}: {same:.3f} of {len(words)} frames alike, {uncropped:.3f} without the crop")


if __name__ == "__main__":
    main()
