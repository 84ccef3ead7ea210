"""What `endoforge evaluate` refuses before any work."""

from __future__ import annotations

from typing import Any

import pytest

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig, TaskKind
from evaluation.tasks import Item, TaskData
from evaluation.tuned_backbone import is_tuned_on
from flows.stages.evaluate_checks import check_asked


def no_network(*told: Any) -> Any:
    raise AssertionError("nothing is loaded by a check")


IMAGE = ModelRef(model_id="i", label="i", path="i")
VIDEO = ModelRef(model_id="v", label="v", path="v", clip_network=no_network)
PACKAGE = ModelRef(model_id="p", label="p", path="", network=no_network)


def task(kind: TaskKind, *, clips: bool = False) -> TaskData:
    item = Item(path="a", split="test", group="g", span=(0.0, 1.0) if clips else None)
    return TaskData(name="demo", kind=kind, items=(item,), classes=("a", "b"), clip_windows=4)


@pytest.mark.parametrize(
    ("kind", "clips", "model", "heads", "settings", "sentence"),
    [
        ("classification", True, IMAGE, ("finetune",), {}, "head finetune trains image backbones on images, and demo has clips"),
        ("segmentation", False, VIDEO, ("fpn", "finetune_fpn"), {}, "head finetune_fpn .* --model told is a video network"),
        ("classification", False, VIDEO, ("knn",), {}, "demo has classes of single images"),
        ("segmentation", False, VIDEO, ("boosted_linear",), {}, "leave out head boosted_linear"),
        ("segmentation", False, VIDEO, ("fpn",), {"decoder_test_scales": (1.0, 1.5)}, "at one size; leave out --decoder-test-scales"),
        ("segmentation", False, PACKAGE, ("fpn",), {}, "no patch tokens, so demo's masks cannot be scored"),
        ("classification", False, PACKAGE, ("finetune",), {}, "is a network of a package"),
        ("detection", False, IMAGE, ("fcos",), {"few_shot": True}, "demo has boxes, .* leave out --few-shot, or demo"),
        ("segmentation", False, VIDEO, ("fpn",), {"few_shot": True}, "whose masks have no few-shot curve"),
        ("classification", True, IMAGE, ("knn",), {"few_shot": True}, "each clip has 4 windows; give --clip-windows 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: TaskKind, clips: bool, model: ModelRef, heads: tuple[str, ...], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_asked(heads, task(kind, clips=clips), model, EvaluateConfig(**settings), told="told")


def test_what_fits_is_not_refused() -> None:
    few = EvaluateConfig(few_shot=True, clip_windows=1)
    check_asked(("knn",), task("classification", clips=True), VIDEO, few, told="told")
    check_asked(("finetune", "linear"), task("classification"), IMAGE, few, told="told")
    check_asked(("linear_segmentation", "dpt"), task("segmentation"), VIDEO, EvaluateConfig(), told="told")


def test_heads_that_change_a_backbone_are_trained_on_the_first_draw_of_networks_at_hand() -> None:
    draws = [ModelRef(model_id="r", label="r", path="i", weights="random", draw=draw) for draw in (0, 1)]
    assert [is_tuned_on(model) for model in (IMAGE, *draws, PACKAGE)] == [True, True, False, False]
