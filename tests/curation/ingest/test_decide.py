import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, strategies as st

from curation.filters.content_area import full_area
from curation.filters.thresholds import FrameThresholds
from curation.ingest.config import IngestConfig
from curation.ingest.decide import FrameScores, decide, drop_reasons, quality_reasons, spare_reasons
from curation.ingest.scan import Sample
from curation.privacy.out_of_body import privacy_reasons

USUAL = {
    "blur": 100.0,
    "luma": 100.0,
    "dark_share": 0.1,
    "bright_share": 0.01,
    "specular_share": 0.01,
    "bubble_share": 0.02,
    "stool_share": 0.02,
    "motion": 5.0,
    "out_of_body": 0.05,
}
APART = 0x0F0F0F0F0F0F0F0F


def scores(*samples: Mapping[str, object]) -> FrameScores:
    """Samples that look unlike their neighbours, usual but for what is named."""
    columns = {name: np.array([sample.get(name, value) for sample in samples], np.float32) for name, value in USUAL.items()}
    return FrameScores(
        numbers=columns,
        phash=[int(str(sample.get("phash", APART << 2 * place & 2**64 - 1))) for place, sample in enumerate(samples)],
        settled=[sample.get("settled") for sample in samples],  # type: ignore[misc]
        is_stored=np.array([sample.get("is_stored", True) for sample in samples], bool),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"luma": 20}, "too_dark"),
        ({"dark_share": 0.9}, "too_dark"),
        ({"luma": 210}, "too_bright"),
        ({"bright_share": 0.5}, "too_bright"),
        ({"blur": 5}, "blurred"),
        ({"blur": 5, "luma": 50}, None),  # twice as bright it would be 20
        ({"blur": 0, "luma": 10}, "too_dark"),
        ({"specular_share": 0.31}, "specular"),
        ({"bubble_share": 0.51}, "bubbles"),
        ({"stool_share": 0.81}, "stool"),
        ({"specular_share": 0.4, "bubble_share": 0.9, "stool_share": 0.9}, "specular"),
        ({"bubble_share": np.nan, "stool_share": np.nan}, None),  # from before these were measured
        ({"out_of_body": 0.31, "luma": 20}, "out_of_body"),
        ({"settled": "corrupt", "out_of_body": 0.9}, "corrupt"),
    ],
)
def test_the_first_reason_is_named(changes: dict[str, object], reason: str | None) -> None:
    assert quality_reasons(scores(changes), FrameThresholds()) == [reason]


def test_a_score_exactly_at_its_threshold_is_kept() -> None:
    at = {"specular_share": 0.3, "bubble_share": 0.5, "stool_share": 0.8, "out_of_body": 0.3, "dark_share": 0.8, "bright_share": 0.35}
    assert quality_reasons(scores(at, {"luma": 30}, {"luma": 200}, {"blur": 8}), FrameThresholds()) == [None] * 4


def test_a_frozen_frame_is_still_and_looks_like_the_one_before() -> None:
    still = {"motion": 0.2, "phash": 7}
    found = drop_reasons(scores({"phash": 7, "motion": np.nan}, still, {"motion": 0.2, "phash": APART}, {"phash": 7}), FrameThresholds())
    assert found == [None, "frozen", None, None]


def test_a_run_keeps_its_sharpest_member_and_the_earlier_of_two() -> None:
    run = [{"phash": 1, "blur": blur} for blur in (50, 90, 90, 20)]
    assert drop_reasons(scores(*run, {"phash": APART}), FrameThresholds()) == ["near_duplicate", None, *["near_duplicate"] * 2, None]


def test_what_has_no_pixels_gives_way_to_what_has() -> None:
    gone = {"phash": 1, "blur": 90, "is_stored": False}
    assert drop_reasons(scores(gone, {"phash": 1, "blur": 20}), FrameThresholds()) == ["near_duplicate", None]
    assert drop_reasons(scores({**gone, "blur": 30}, gone), FrameThresholds()) == ["near_duplicate", "not_stored"]


def test_only_known_reasons_put_a_picture_into_the_spare_pack() -> None:
    assert not set(spare_reasons()) & {*privacy_reasons(), "corrupt", "not_stored"}


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "blur": st.floats(0, 50, width=32),
                "motion": st.floats(0, 2, width=32),
                "phash": st.integers(0, 15),
                "out_of_body": st.floats(0, 0.5, width=32),
                "settled": st.sampled_from([None, None, None, "corrupt", "out_of_body"]),
                "is_stored": st.booleans(),
            }
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 64),
)
def test_every_usable_run_keeps_one_and_settled_frames_stay_dropped(samples: list[dict[str, object]], distance: int) -> None:
    thresholds = FrameThresholds(max_hash_distance=distance)
    reasons = drop_reasons(scores(*samples), thresholds)
    for sample, reason in zip(samples, reasons, strict=True):
        assert sample["settled"] is None or reason == sample["settled"]
        assert reason is not None or sample["is_stored"]
        assert reason != "not_stored" or not sample["is_stored"]
    if any(reason == "near_duplicate" for reason in reasons):
        assert any(reason in (None, "not_stored") for reason in reasons)
    assert drop_reasons(scores(*samples), thresholds) == reasons


def grey_samples(evidence: list[float], rate: int) -> list[Sample]:
    """Samples without any colour, whose structure alone tells rooms from tissue."""
    usual = {name: value for name, value in USUAL.items() if name not in ("stool_share", "out_of_body")}
    return [
        Sample(
            frame_index=place,
            pts_us=place * 1_000_000 // rate,
            scores=dict(usual),
            colors=np.zeros((2, 36), np.float32),
            phash=0,
            is_corrupt=False,
            spool_offset=0,
            spool_size=0,
            area=full_area(64, 64),
            stored_size=(64, 64),
            room_evidence=value,
        )
        for place, value in enumerate(evidence)
    ]


@pytest.mark.parametrize("rate", [1, 5, 25])
def test_a_second_of_doubtful_structure_is_kept_at_any_sampling_rate(rate: int) -> None:
    evidence = [-4.0] * 20 + [1.0] + [-4.0] * 20 + [3.0] * 12 + [-4.0] * 20
    samples = grey_samples(np.repeat(evidence, rate).tolist(), rate)
    decide(samples, IngestConfig())
    seconds = np.array([sample.out_of_body for sample in samples]).reshape(-1, rate)
    assert seconds[20].max() < 0.3
    assert seconds[42:52].min() > 0.3, "a room"
    assert seconds[np.r_[:40, 55:73]].max() < 0.3


@pytest.mark.parametrize(
    ("evidence", "bright_share", "score"),
    [(6.0, 0.0, 1.0), (5.0, 0.0, 0.1), (6.0, 0.2, 0.1), (math.nan, 0.0, 0.1)],
    ids=["room beyond doubt", "doubtful", "overexposed", "nearly all is warm"],
)
def test_a_room_with_the_colours_of_tissue_is_found_by_its_structure(evidence: float, bright_share: float, score: float) -> None:
    samples = grey_samples([math.nan] * 9, 1)
    for sample in samples:
        sample.colors[1, 1] = 0.9  # orange, as tissue and as lit wood
    samples[4].room_evidence = evidence
    samples[4].scores["bright_share"] = bright_share
    decide(samples, IngestConfig())
    assert [sample.out_of_body for sample in samples] == pytest.approx([0.1] * 4 + [score] + [0.1] * 4)
