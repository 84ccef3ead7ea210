"""Phantoms as tests make and read them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.phantom.config import PhantomConfig
from curation.phantom.eval import phantom_eval_patient, write_eval_index
from curation.phantom.patient import ContentArea
from curation.phantom.phantom import eval_patients


def read_truth(path: Path) -> tuple[ContentArea, pa.Table]:
    """Content area and frame rows of a truth file written beside a phantom video."""
    table = pq.read_table(path)
    first = table.slice(0, 1).to_pylist()[0]
    parts = ("kind", "center_x", "center_y", "half_width", "half_height", "corner_cut")
    return ContentArea(**{part: first[f"area_{part}"] for part in parts}), table


def write_evaluation_sets(out_dir: Path, *, config: PhantomConfig) -> dict[str, int]:
    """Write landmarks/, grades/ and polyps/ of all evaluation patients, one after the other.

    Returns:
        number of images in each set.
    """
    evidence = [phantom_eval_patient(patient, out_dir=str(out_dir), config=config) for patient in eval_patients(config)]
    return write_eval_index(evidence, out_dir=str(out_dir), config=config)
