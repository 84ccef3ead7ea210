"""Rates of this machine."""

from dataclasses import replace

import cv2
import numpy as np

from curation.embedding.config import EmbedConfig
from curation.planning.cost import Cost, Rate, Unit
from curation.planning.timing import unit_rate

JPEG = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))[1].tobytes()
UNITS: tuple[Unit, ...] = ("frame", "operation", "row", "byte")


def test_kernels_are_timed_and_what_the_disk_decides_is_assumed() -> None:
    rates = {unit: unit_rate(unit, dim=16, encoder=EmbedConfig(image_size=32), jpegs=[JPEG]) for unit in UNITS}
    sources = {unit: rate.source for unit, rate in rates.items()}
    assert sources == {"frame": "timed here", "operation": "timed here", "row": "assumed", "byte": "assumed"}
    assert all(rate.unit_s > 0 for rate in rates.values())
    assert rates["frame"].unit_s > 1000 * rates["operation"].unit_s


def test_time_is_items_by_work_by_rate() -> None:
    rate = Rate(unit_s=1e-8, source="assumed")
    cost = Cost(items=1000, unit="byte", item_work=50_000, memory_bytes=0, kept_bytes=0)
    assert [rate.seconds(cost, num_cores=cores) for cores in (1, 2, 100)] == [0.5, 0.25, 0.005]
    assert [rate.seconds(replace(cost, most_cores=2), num_cores=cores) for cores in (1, 2, 100)] == [0.5, 0.25, 0.25]
