"""What a card says of scores of all folds."""

from __future__ import annotations

import math

from warehouse.model_card import CardModel, model_card
from warehouse.model_facts import ModelFacts
from warehouse.records import Score

MODEL = CardModel(
    title="Ours",
    architecture="vit",
    num_parameters=5,
    image_size=28,
    patch_size=14,
    dim=8,
    mean=(0.5,),
    std=(0.2,),
    recipe=None,
    changed=(),
    files=(),
    usage=(),
)


def score(data_id: str, value: float, low: float, high: float, **details: str) -> Score:
    return Score(
        score_id=f"{data_id}{value}",
        model_id="c" * 64,
        model="ours",
        task="cvc_clinicdb",
        data_id=data_id,
        split="test",
        head="fpn",
        metric="dice",
        value=value,
        ci_low=low,
        ci_high=high,
        num_items=612,
        num_groups=29,
        seed=0,
        details={"split_protocol": "made: 5 folds", **details},
    )


def test_all_folds_stand_in_place_of_single_ones() -> None:
    scores = [score(f"fold{n}", 0.7 + n / 10, 0.6, 0.9, fold=str(n)) for n in range(2)]
    scores.append(score("all", 0.75, 0.71, 0.79, fold="all", num_folds="2", mean="0.7500", sd="0.0707"))
    facts = ModelFacts(checkpoint_id="c" * 64, checkpoint=None, training=None, data=None, scores=tuple(scores))
    card = model_card(MODEL, facts, licence="mit", public_names={"cvc_clinicdb"})
    assert "| fpn | dice | this model | 0.750 [0.710, 0.790]; folds 0.7500 ± 0.0707 |" in card
    assert "612 items of 29 groups, 2 folds tested in turn." in card
    assert card.count("### cvc_clinicdb") == 1
    alone = ModelFacts(checkpoint_id="c" * 64, checkpoint=None, training=None, data=None, scores=tuple(scores[:2]))
    assert model_card(MODEL, alone, licence="mit", public_names={"cvc_clinicdb"}).count("### cvc_clinicdb") == 2
    unpooled = score("all", 0.75, math.nan, math.nan, fold="all", num_folds="2", mean="0.7500", sd="0.0707")
    facts = ModelFacts(checkpoint_id="c" * 64, checkpoint=None, training=None, data=None, scores=(unpooled,))
    assert "0.750 (no interval" in model_card(MODEL, facts, licence="mit", public_names={"cvc_clinicdb"})
