"""Which protocols a package's task may have."""

from __future__ import annotations

import pytest

from evaluation.config import TaskKind
from evaluation.heads import CLASS_HEADS, MASK_HEADS
from evaluation.heads.names import HEAD_KINDS
from evaluation.tasks.protocol import PROTOCOLS, Protocol, protocol_fault


@pytest.mark.parametrize("kind", ["classification", "ordinal", "segmentation"])
def test_a_protocol_may_ask_for_every_head_that_serves_its_labels(kind: TaskKind) -> None:
    heads = tuple(name for family in (CLASS_HEADS, MASK_HEADS) for name in family if kind in HEAD_KINDS[name])
    known = PROTOCOLS[kind]
    assert len(heads) > len(known.heads)
    assert protocol_fault(Protocol(heads=heads, metrics=known.metrics, primary=known.primary), kind) is None


@pytest.mark.parametrize(
    ("kind", "protocol", "fault"),
    [
        (
            "segmentation",
            Protocol(heads=("knn",), metrics=("dice",), primary="dice"),
            "has the heads knn; give such as linear_segmentation",
        ),
        (
            "ordinal",
            Protocol(heads=("linear_segmentation",), metrics=("accuracy",), primary="accuracy"),
            "has the heads linear_segmentation; give such as knn or linear",
        ),
        ("ordinal", Protocol(heads=(), metrics=("accuracy",), primary="accuracy"), "has the heads none; give such as knn or linear"),
        ("segmentation", Protocol(heads=("fpn",), metrics=("accuracy",), primary="dice"), "has the metrics accuracy; give dice or iou"),
        ("segmentation", Protocol(heads=("dpt",), metrics=("dice",), primary="iou"), "has the primary metric iou; give dice"),
    ],
)
def test_what_labels_have_not_is_named(kind: TaskKind, protocol: Protocol, fault: str) -> None:
    assert protocol_fault(protocol, kind) == fault
