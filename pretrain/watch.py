"""Signs of collapse and plateaus in a run's metrics, each said once an episode with what to try.

`watch` folds one row of metrics into a state and gives what is to be said at that row. It is pure: the same rows give the same
sentences, so a resumed run and the report can go through the recorded rows again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

__all__ = ["Limits", "Sign", "Watch", "signs_of", "watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When something is a sign."""

    num_prototypes: int
    """K of the DINO head; ln K nats is the cross-entropy and the entropy of a uniform guess"""
    from_step: int
    """the loss may be at ln K before this step: the end of the rate's warm-up"""
    patience: int
    """steps that loss or entropy must stay"""
    near: float = 0.01
    """share of ln K that counts as at it"""
    low_entropy: float = 0.02
    """share of ln K below which the teacher's entropy is near 0"""
    rank_share: float = 0.25
    """share of the first effective rank below which it has fallen"""
    num_validations: int = 6
    """validations without a better score that are a plateau"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """Something to say."""

    step: int
    kind: str
    """dino_at_ln_k, one_prototype, uniform_teacher, rank_fell or plateau"""
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is known after some rows."""

    since: Mapping[str, int] = field(default_factory=dict)
    """by kind, the step at which the episode that goes on began"""
    said: frozenset[str] = frozenset()
    """kinds whose present episode has been told"""
    first_rank: float | None = None
    best: tuple[int, float] | None = None
    """step and value of the best validation score"""
    num_since_best: int = 0
    validated: int = -1
    """step of the newest validation"""


def signs_of(rows: Iterable[tuple[int, Mapping[str, float]]], limits: Limits) -> list[Sign]:
    """All signs of a run, from its rows in the order of steps."""
    state, found = Watch(), []
    for step, row in rows:
        state, signs = watch(state, step, row, limits)
        found += signs
    return found


def watch(state: Watch, step: int, row: Mapping[str, float], limits: Limits) -> tuple[Watch, list[Sign]]:
    """The state after a row of metrics, and what is to be said at it.

    Args:
        state: after the rows before.
        step: of the row; a validation that is recorded again is not counted again.
        row: metrics by name; those that a rule needs and that are missing or not finite change nothing for it.
        limits: of the run.
    """
    ln_k = math.log(limits.num_prototypes)
    signs: list[Sign] = []

    def episode(kind: str, goes_on: bool, patience: int, sentence: str) -> None:
        nonlocal state
        since = dict(state.since)
        if not goes_on:
            since.pop(kind, None)
            state = replace(state, since=since, said=state.said - {kind})
            return
        begun = since.setdefault(kind, step)
        state = replace(state, since=since)
        if kind not in state.said and step - begun >= patience:
            state = replace(state, said=state.said | {kind})
            signs.append(Sign(step=step, kind=kind, sentence=sentence.format(steps=step - begun)))

    loss = _sum(row, "loss/dino_global", "loss/dino_local")
    if loss is not None and step >= limits.from_step:
        episode(
            "dino_at_ln_k",
            loss >= (1 - limits.near) * ln_k,
            limits.patience,
            f"at step {step} the DINO cross-entropy is {loss:.3f} and has been at or above ln K = {ln_k:.3f} for {{steps}} steps: the "
            "student guesses no better than at random; try weaker colour and larger crops, fewer prototypes or a larger batch",
        )
    entropy = _sum(row, "teacher/entropy")
    if entropy is not None:
        episode(
            "one_prototype",
            entropy < limits.low_entropy * ln_k,
            limits.patience,
            f"at step {step} the teacher's entropy is {entropy:.3f} of at most ln K = {ln_k:.3f} and has been near 0 for {{steps}} steps: "
            "it has collapsed to single prototypes; go back to an earlier checkpoint with a lower rate or a higher teacher temperature",
        )
        episode(
            "uniform_teacher",
            entropy > (1 - limits.near) * ln_k,
            limits.patience,
            f"at step {step} the teacher's entropy is {entropy:.3f} and has been at ln K = {ln_k:.3f} for {{steps}} steps: it says nothing "
            "of the images; try a lower teacher temperature or fewer prototypes",
        )
    rank = _sum(row, "validation/views/effective_rank")
    if rank is not None:
        first = state.first_rank if state.first_rank is not None else rank
        state = replace(state, first_rank=first)
        episode(
            "rank_fell",
            rank < limits.rank_share * first,
            0,
            f"at step {step} the effective rank of the features is {rank:.1f}, from {first:.1f} at the start: they collapse into few "
            "directions; try a higher KoLeo weight or a lower rate, from an earlier checkpoint",
        )
    score = _sum(row, "validation/score")
    if score is not None and step > state.validated:
        state = replace(state, validated=step, num_since_best=state.num_since_best + 1)
        if state.best is None or score > state.best[1]:
            state = replace(state, best=(step, score), num_since_best=0)
        best_step, best = state.best or (step, score)
        which = "that of the weights before the first step" if best_step == 0 else f"that of step {best_step}"
        episode(
            "plateau",
            state.num_since_best >= limits.num_validations,
            0,
            f"at step {step} the validation score is {score:.3f}, and {which}, {best:.3f}, is still the best after "
            f"{state.num_since_best} validations: stopping loses nothing, for the best checkpoint is kept; else try a lower rate",
        )
    return state, signs


def _sum(row: Mapping[str, float], *names: str) -> float | None:
    """The sum of metrics; None unless all are there and finite."""
    values = [row.get(name, math.nan) for name in names]
    return sum(values) if all(map(math.isfinite, values)) else None
