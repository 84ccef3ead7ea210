"""Speed of the evaluation beside its limits, as ratios: `python tests/benchmarks/bench_evaluation.py [images, 96 unless given]`.

Three rows, each the median of three pairs that are measured one after the other in CPU seconds, on one thread:

- extraction: images/s of `extract_features` over those of a bare loop (decode, resize, model, nothing else) over the same files; limit 0.9
  or more;
- k-NN: classes of 512 queries by 100,000 images of 768 dimensions over the bare matrix product of the same sizes; limit under 2;
- the linear grid: 52 heads trained together over one head of the widest feature set (1,920 dimensions) trained the same way, 128 images
  a step and six classes; limit under 3. Beside it: the 52 heads over their matrix products alone, two a step and feature set; those
  products over the one head's; and the first ratio with the extraction of the features in both, which both need.

Files are made: 352 x 352 JPEGs of noise over a gradient. The model is EfficientNet-Lite0 with random weights at 224 pixels.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from evaluation.backbone import Backbone, ModelRef, load_backbone
from evaluation.features import extract_features
from evaluation.heads import knn_predict
from evaluation.heads.linear_grid import train_grid
from evaluation.tasks import Item

_SETS = {"last": 384, "last4": 1536, "last+mean": 768, "last4+mean": 1920}
_STEPS = 300
_BATCH = 128
_CLASSES = 6


def ratio(ours: Callable[[], object], peer: Callable[[], object], *, pairs: int = 3) -> tuple[float, float, float]:
    """Median ratio of CPU seconds, ours over the peer's, and both medians."""
    found = []
    for _ in range(pairs):
        seconds = []
        for work in (ours, peer):
            start = time.process_time()
            work()
            seconds.append(time.process_time() - start)
        found.append((seconds[0] / seconds[1], *seconds))
    first, second, third = np.median(np.array(found), axis=0)
    return float(first), float(second), float(third)


def pictures(folder: Path, num: int) -> list[Item]:
    """JPEGs as evaluation items."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 352)[None, :, None] + np.zeros((352, 1, 3))
    items = []
    for number in range(num):
        path = folder / f"{number}.jpg"
        Image.fromarray(np.clip(ramp + rng.normal(0, 20, ramp.shape), 0, 255).astype(np.uint8)).save(path, quality=90)
        items.append(Item(path=str(path), split="test", group=str(number)))
    return items


@torch.inference_mode()
def bare_loop(backbone: Backbone, items: list[Item]) -> None:
    """Decode, resize, normalise, and one forward pass with the intermediate stages that the features are made of."""
    for start in range(0, len(items), backbone.batch_size):
        pixels = []
        for item in items[start : start + backbone.batch_size]:
            with Image.open(item.path) as image:
                pixels.append(np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)))
        final, _ = backbone.module.forward_intermediates(backbone.prepared(np.stack(pixels)), indices=4)
        backbone.module.forward_head(final, pre_logits=True)


def products(dims: list[int], num_rows: int) -> None:
    """The matrix products of all steps, forward and back, of `num_rows` classifier rows on each feature set, and nothing else."""
    for dim in dims:
        seen, weight, error = torch.rand(_BATCH, dim), torch.rand(num_rows, dim), torch.rand(num_rows, _BATCH)
        momentum = torch.zeros(num_rows, dim)
        for _ in range(_STEPS):
            torch.mm(weight, seen.T)
            momentum.addmm_(error, seen, beta=0.9)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    num_images = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_for_hf(timm.create_model("tf_efficientnet_lite0", num_classes=0), str(folder / "model"), safe_serialization=True)
        backbone = load_backbone(ModelRef(model_id="", label="", path=str(folder / "model")), device="cpu")
        items = pictures(folder, num_images)
        extract_features(backbone, items[:16], batch_size=None, num_workers=2)
        slower, ours, peer = ratio(
            lambda: extract_features(backbone, items, batch_size=None, num_workers=2), lambda: bare_loop(backbone, items)
        )
        print(f"extraction / bare loop       {1 / slower:.3f}   ({num_images / ours:.1f} and {num_images / peer:.1f} images/s; limit 0.9)")
        extraction = ours / num_images

    gallery, queries = (torch.from_numpy(rng.standard_normal((num, 768), np.float32)) for num in (100_000, 512))
    labels = torch.from_numpy(rng.integers(0, _CLASSES, 100_000))
    found, ours, peer = ratio(
        lambda: knn_predict(gallery, labels, queries, k=(1, 5, 10, 20, 50), num_classes=_CLASSES), lambda: queries @ gallery.T
    )
    print(f"k-NN / matrix product        {found:.2f}    ({ours:.2f} and {peer:.2f} s; limit 2)")

    truth = rng.integers(0, _CLASSES, 800)
    sets = {name: rng.standard_normal((800, dim), np.float32) for name, dim in _SETS.items()}
    widest = {"last4+mean": sets["last4+mean"]}

    def train(features: dict[str, np.ndarray[tuple[int, int], np.dtype[np.float32]]], rates: tuple[float, ...]) -> None:
        told = {"num_classes": _CLASSES, "balanced": True, "steps": _STEPS, "seed": 0, "device": torch.device("cpu")}
        train_grid(features, truth, learning_rates=rates, **told)  # type: ignore[arg-type]

    train(widest, (0.01,))
    rates = tuple(np.geomspace(1e-5, 0.1, 13).tolist())
    found, ours, peer = ratio(lambda: train(sets, rates), lambda: train(widest, (0.01,)))
    print(f"52 heads / one head          {found:.2f}    ({1000 * ours / _STEPS:.2f} and {1000 * peer / _STEPS:.2f} ms a step; limit 3)")
    dims = list(_SETS.values())
    beside, _, alone = ratio(lambda: train(sets, rates), lambda: products(dims, 13 * _CLASSES))
    print(f"  52 heads / their products  {beside:.2f}    (products {1000 * alone / _STEPS:.2f} ms a step)")
    least, _, single = ratio(lambda: products(dims, 13 * _CLASSES), lambda: products([_SETS["last4+mean"]], _CLASSES))
    print(f"  products / one head's      {least:.2f}   (one head's {1000 * single / _STEPS:.2f} ms a step)")
    shared = extraction * len(truth)
    whole, one = (shared + seconds / _STEPS * 2000 for seconds in (ours, peer))
    print(f"  with extraction, 2,000 steps {whole / one:.2f}  ({whole:.1f} and {one:.1f} s for {len(truth)} images; limit 3)")


if __name__ == "__main__":
    main()
