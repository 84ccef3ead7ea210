"""Literal curves: what each sign of collapse says, once an episode, and that healthy runs say nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pretrain.metrics import MetricsLog, read_metrics
from pretrain.notices import notices_after
from pretrain.watch import Limits, Sign, Watch, signs_of, watch
from pretrain.watcher import Watcher

CONFIG = {"dino_head": {"num_prototypes": 128}, "optim": {"warmup_steps": 28}, "train": {"num_steps": 280}}
LIMITS = Limits(num_prototypes=128, from_step=28, patience=50)  # ln 128 = 4.852


def rows(name: str, curve: dict[int, float]) -> list[tuple[int, dict[str, float]]]:
    return [(step, {name: value}) for step, value in curve.items()]


def dino(curve: dict[int, float]) -> list[tuple[int, dict[str, float]]]:
    return [(step, {"loss/dino_global": 0.2 * value, "loss/dino_local": 0.8 * value}) for step, value in curve.items()]


def test_a_cross_entropy_that_stays_at_ln_k_is_said_once_with_numbers() -> None:
    # the demo as it was measured: 5.43, 4.81 at step 50, 4.85 at the end
    (sign,) = signs_of(dino({1: 5.43, 30: 4.90, 50: 4.81, 80: 4.83, 140: 4.84, 210: 4.85, 280: 4.85}), LIMITS)
    assert (sign.step, sign.kind) == (80, "dino_at_ln_k")
    assert "is 4.830 and has been at or above ln K = 4.852 for 50 steps" in sign.sentence
    assert "try weaker colour" in sign.sentence


def test_another_episode_is_said_again() -> None:
    found = signs_of(dino({30: 4.85, 90: 4.85, 100: 4.0, 110: 4.85, 150: 4.85, 160: 4.85, 170: 4.85}), LIMITS)
    assert [sign.step for sign in found] == [90, 160]


def test_healthy_runs_say_nothing() -> None:
    limits = Limits(num_prototypes=65536, from_step=12500, patience=6000)  # ln K = 11.09
    steps = range(0, 125_001, 500)
    healthy = [
        (
            step,
            {
                "loss/dino_global": 0.5 + 0.6 * math.exp(-step / 9000),
                "loss/dino_local": 5.5 + 5.0 * math.exp(-step / 9000),
                "teacher/entropy": 4.0 + 6.0 * math.exp(-step / 20000),
                "validation/views/effective_rank": 20 + step / 1000,
                "validation/score": 0.5 + step / 1e6,
            },
        )
        for step in steps
    ]
    assert signs_of(healthy, limits) == []
    assert signs_of(dino({1: 5.43, 30: 4.85, 50: 4.81, 80: 4.6, 280: 4.2}), LIMITS) == []  # passes ln K on its way


@pytest.mark.parametrize(
    ("values", "kind", "sentence"),
    [
        ((0.06, 0.05, 0.04), "one_prototype", "entropy is 0.040 of at most ln K = 4.852 and has been near 0 for 60 steps"),
        ((4.84, 4.85, 4.85), "uniform_teacher", "entropy is 4.850 and has been at ln K = 4.852 for 60 steps"),
    ],
)
def test_a_teacher_that_is_certain_of_everything_or_of_nothing_is_said(values: tuple[float, ...], kind: str, sentence: str) -> None:
    (sign,) = signs_of(rows("teacher/entropy", dict(zip((10, 40, 70), values, strict=True))), LIMITS)
    assert (sign.step, sign.kind) == (70, kind)
    assert sentence in sign.sentence


def test_a_rank_below_a_quarter_of_its_start_is_said() -> None:
    (sign,) = signs_of(rows("validation/views/effective_rank", {0: 20.0, 70: 12.0, 140: 4.0, 210: 3.0}), LIMITS)
    assert (sign.step, sign.kind) == (140, "rank_fell")
    assert "is 4.0, from 20.0 at the start" in sign.sentence


def test_a_score_that_no_longer_improves_is_said_once_until_it_does() -> None:
    scores = [0.2, 0.5, 0.4, 0.49, 0.5, 0.3, 0.4, 0.5, 0.5, 0.6, 0.5]
    (sign,) = signs_of(rows("validation/score", {10 * n: score for n, score in enumerate(scores)}), LIMITS)
    assert (sign.step, sign.kind) == (70, "plateau")
    assert "that of step 10, 0.500, is still the best after 6 validations" in sign.sentence
    (sign,) = signs_of(rows("validation/score", {step: -step for step in range(8)}), LIMITS)
    assert "that of the weights before the first step, 0.000, is still the best" in sign.sentence


def test_a_validation_that_is_recorded_again_counts_once_and_gaps_change_nothing() -> None:
    state: Watch = Watch()
    found: list[Sign] = []
    for step in (0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5):
        state, signs = watch(state, step, {"validation/score": 1.0 - step, "loss/dino_global": math.nan}, LIMITS)
        found += signs
    assert found == []
    assert state.num_since_best == 5


def test_a_sign_is_noted_and_recorded_and_a_resumed_run_does_not_say_it_again(tmp_path: Path) -> None:
    curve = dino({30: 4.85, 60: 4.85, 90: 4.85, 120: 4.85})

    def go_on(after_step: int) -> None:
        log = MetricsLog(tmp_path, after_step=after_step)
        log.watch = Watcher(tmp_path, CONFIG)
        for step, row in curve:
            if step > after_step:
                log.write(step, row)
        log.close()

    for after_step in (0, 60, 90):  # from the start, cut before the sign, and after it
        go_on(after_step)
        assert [(step, value) for step, name, value in read_metrics(tmp_path / "metrics.jsonl") if name == "watch/dino_at_ln_k"] == [
            (90, 1.0)
        ]
        (sentence,), _ = notices_after(tmp_path, 0)
        assert sentence.startswith("at step 90 the DINO cross-entropy is 4.850")
