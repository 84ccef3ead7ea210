"""How often a 95% interval holds the true value: a simulation of few patients, scores near 1, rare classes and paired differences.

    python tests/benchmarks/bench_interval_coverage.py [DRAWS [CASE]]

Each case draws data sets from a population whose score is known, and asks the product's own functions for the interval. Beside the share
that holds the truth stand the share of draws for which no interval is given, the mean width, and what the percentile bootstrap covers.
Shares of right answers near 1 are drawn from a band: with a hundred answers the coverage of any interval jumps from point to point. Of 100
answers that are right with .99, an interval that holds .99 up to two errors covers .921, and up to three .982; there is nothing between.
The rows "exactly" show that, and are not judged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from evaluation.intervals import Interval, bootstrap_weights
from evaluation.metrics import (
    CLASSIFICATION_METRICS,
    classification_difference,
    classification_scores,
    confusion_matrices,
    mean_difference,
    mean_scores,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Draw = Callable[[np.random.Generator], tuple[float, Interval, tuple[float, float]]]
"""truth, the product's interval, and the ends of the percentile bootstrap"""

GRADES = (0.54, 0.27, 0.11, 0.08)  # of LIMUC's images
LANDMARKS = (101.0, 100.0, 93.0, 76.0, 39.0)  # a tenth of HyperKvasir's, without the ileum
NUM_REPLICATES = 300


def percentile(values: Floats) -> tuple[float, float]:
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def bootstrapped_mean(values: Floats, groups: Ints, seed: int) -> tuple[float, float]:
    sums, sizes = np.bincount(groups, values), np.bincount(groups).astype(np.float64)
    weights = bootstrap_weights(len(sums), NUM_REPLICATES, seed)
    return percentile((weights @ sums) / (weights @ sizes))


def bootstrapped_metric(name: str, labels: Ints, predictions: Ints, groups: Ints, num_classes: int, seed: int) -> tuple[float, float]:
    matrices = confusion_matrices(labels, predictions, groups, num_classes=num_classes)
    weights = bootstrap_weights(len(matrices), NUM_REPLICATES, seed)
    return percentile(CLASSIFICATION_METRICS[name]((weights @ matrices.reshape(len(matrices), -1)).reshape(-1, num_classes, num_classes)))


def dice_draws(rng: np.random.Generator, sizes: Ints) -> tuple[Floats, Ints]:
    """Dice of images whose patients differ in how hard they are; 6% of images are missed, more of hard patients."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    ease = rng.normal(1.6, 0.8, len(sizes))[groups]
    values = 1 / (1 + np.exp(-rng.normal(ease, 1.0)))
    missed = rng.random(len(groups)) < 0.06 * np.exp(1.6 - ease)
    return np.where(missed, 0.5 * rng.random(len(groups)), values), groups


def group_sizes(rng: np.random.Generator, num_groups: int, equal: bool) -> Ints:
    return np.full(num_groups, 10) if equal else rng.integers(4, 21, num_groups)


def dice_case(num_groups: int, *, equal: bool, truth: float) -> Draw:
    def draw(rng: np.random.Generator) -> tuple[float, Interval, tuple[float, float]]:
        values, groups = dice_draws(rng, group_sizes(rng, num_groups, equal))
        seed = int(rng.integers(2**31))
        return truth, mean_scores(values, groups, num_bootstrap=NUM_REPLICATES, seed=seed), bootstrapped_mean(values, groups, seed)

    return draw


def paired_case(num_groups: int, *, truth: float) -> Draw:
    """Two models on the same images; the second loses a tenth of what is left above .2 on average."""

    def draw(rng: np.random.Generator) -> tuple[float, Interval, tuple[float, float]]:
        values, groups = dice_draws(rng, group_sizes(rng, num_groups, equal=False))
        others = weaker(rng, values, groups)
        seed = int(rng.integers(2**31))
        found = mean_difference(values, others, groups, num_bootstrap=NUM_REPLICATES, seed=seed)
        return truth, found, bootstrapped_mean(values - others, groups, seed)

    return draw


def weaker(rng: np.random.Generator, values: Floats, groups: Ints) -> Floats:
    loss = rng.normal(0.05, 0.05, groups.max() + 1)[groups] + rng.normal(0, 0.08, len(values))
    return np.asarray(np.clip(values - loss, 0, 1), np.float64)


def accuracy_case(low: float, high: float, num_groups: int, size: int, *, spread: float = 0.0) -> Draw:
    """Shares of right answers from a band; patients' own shares have a beta distribution of that standard deviation at .8."""

    def draw(rng: np.random.Generator) -> tuple[float, Interval, tuple[float, float]]:
        share = float(rng.uniform(low, high))
        strength = 0.16 / spread**2 - 1 if spread else 0.0
        own = rng.beta(share * strength, (1 - share) * strength, num_groups) if spread else np.full(num_groups, share)
        right = (rng.random((num_groups, size)) < own[:, None]).ravel()
        groups, labels = np.repeat(np.arange(num_groups), size), np.zeros(num_groups * size, np.int64)
        seed = int(rng.integers(2**31))
        found = classification_scores(
            labels,
            (~right).astype(np.int64),
            groups,
            num_classes=2,
            names=("accuracy",),
            num_bootstrap=NUM_REPLICATES,
            seed=seed,
        )
        return share, found["accuracy"], bootstrapped_mean(right.astype(np.float64), groups, seed)

    return draw


def graded(rng: np.random.Generator, num_groups: int, size: int) -> tuple[Ints, Ints, Ints]:
    """Grades of patients who mostly keep one, and predictions whose bias is the patient's."""
    groups = np.repeat(np.arange(num_groups), size)
    own = rng.choice(4, num_groups, p=GRADES)[groups]
    labels = np.where(rng.random(len(groups)) < 0.6, own, rng.choice(4, len(groups), p=GRADES))
    noise = rng.normal(0, 0.35, num_groups)[groups] + rng.normal(0, 0.45, len(groups))
    return labels, np.clip(np.rint(labels + noise), 0, 3).astype(np.int64), groups


def grades_case(name: str, num_groups: int, size: int, *, truth: float) -> Draw:
    def draw(rng: np.random.Generator) -> tuple[float, Interval, tuple[float, float]]:
        labels, predictions, groups = graded(rng, num_groups, size)
        seed = int(rng.integers(2**31))
        found = classification_scores(labels, predictions, groups, num_classes=4, names=(name,), num_bootstrap=NUM_REPLICATES, seed=seed)
        return truth, found[name], bootstrapped_metric(name, labels, predictions, groups, 4, seed)

    return draw


def kappa_difference_case(num_groups: int, size: int, *, truth: float) -> Draw:
    def draw(rng: np.random.Generator) -> tuple[float, Interval, tuple[float, float]]:
        labels, predictions, groups = graded(rng, num_groups, size)
        others = worse_grades(rng, predictions)
        seed = int(rng.integers(2**31))
        name = "quadratic_weighted_kappa"
        found = classification_difference(
            labels, predictions, others, groups, num_classes=4, name=name, num_bootstrap=NUM_REPLICATES, seed=seed
        )
        matrices = [confusion_matrices(labels, p, groups, num_classes=4) for p in (predictions, others)]
        weights = bootstrap_weights(num_groups, NUM_REPLICATES, seed)
        drawn = [CLASSIFICATION_METRICS[name]((weights @ m.reshape(num_groups, -1)).reshape(-1, 4, 4)) for m in matrices]
        return truth, found, percentile(drawn[0] - drawn[1])

    return draw


def worse_grades(rng: np.random.Generator, predictions: Ints) -> Ints:
    return np.asarray(np.clip(predictions + rng.choice([-1, 0, 1], len(predictions), p=(0.1, 0.8, 0.1)), 0, 3), np.int64)


def landmark_rates(rare: float) -> tuple[Floats, Floats]:
    """Expected images of each class, and rows of what each is predicted as; the rare class (ileum) is right in 60%."""
    counts = np.array([*LANDMARKS, rare])
    rates = np.full((6, 6), 0.01) + np.diag(np.full(6, 0.94))
    rates[5] = (0.2, 0.05, 0.05, 0.05, 0.05, 0.6)
    return counts, rates


def landmarks_case(name: str, rare: float) -> Draw:
    """HyperKvasir-like: every image a group of its own, the classes' numbers drawn too."""
    counts, rates = landmark_rates(rare)
    truth = float(CLASSIFICATION_METRICS[name](counts[:, None] * rates))

    def draw(rng: np.random.Generator) -> tuple[float, Interval, tuple[float, float]]:
        labels = rng.choice(6, round(counts.sum()), p=counts / counts.sum())
        predictions = (rates[labels].cumsum(1) < rng.random(len(labels))[:, None]).sum(1).clip(max=5)
        groups, seed = np.arange(len(labels)), int(rng.integers(2**31))
        found = classification_scores(labels, predictions, groups, num_classes=6, names=(name,), num_bootstrap=NUM_REPLICATES, seed=seed)
        weights = bootstrap_weights(len(labels), 100, seed)
        cells = np.eye(36)[labels * 6 + predictions]
        return truth, found[name], percentile(CLASSIFICATION_METRICS[name]((weights @ cells).reshape(-1, 6, 6)))

    return draw


def cases() -> Iterator[tuple[str, Draw]]:
    rng = np.random.default_rng(0)
    values, groups = dice_draws(rng, np.full(100_000, 10))
    mean, less = float(values.mean()), float((values - weaker(rng, values, groups)).mean())
    for num_groups in (3, 5, 6, 8, 12, 30, 100):
        yield f"Dice, {num_groups} groups of 10", dice_case(num_groups, equal=True, truth=mean)
    for num_groups in (5, 8, 12, 30):
        yield f"Dice, {num_groups} groups of 4 to 20", dice_case(num_groups, equal=False, truth=mean)
    yield "accuracy 0.8 of 100", accuracy_case(0.8, 0.8, 100, 1)
    yield "accuracy 0.98 to 1 of 100", accuracy_case(0.98, 1.0, 100, 1)
    yield "accuracy 0.99 of 100 exactly", accuracy_case(0.99, 0.99, 100, 1)
    yield "accuracy 0.98 exactly, 8 groups of 12", accuracy_case(0.98, 0.98, 8, 12)
    yield "accuracy 0.95 to 1, 8 groups of 12", accuracy_case(0.95, 1.0, 8, 12)
    yield "accuracy 0.95 to 0.999, 8 groups of 12, sd 0.1", accuracy_case(0.95, 0.999, 8, 12, spread=0.1)
    yield "accuracy 0.8, 8 groups of 12, sd 0.1", accuracy_case(0.8, 0.8, 8, 12, spread=0.1)
    yield "accuracy 0.93 to 0.99, 12 groups of 20, sd 0.1", accuracy_case(0.93, 0.99, 12, 20, spread=0.1)
    yield "accuracy 0.93 to 0.99, 40 groups of 5, sd 0.1", accuracy_case(0.93, 0.99, 40, 5, spread=0.1)
    labels, predictions, _ = graded(rng, 200_000, 5)
    others = worse_grades(rng, predictions)
    whole = [confusion_matrices(labels, p, np.zeros_like(labels), num_classes=4)[0] for p in (predictions, others)]
    kappa = CLASSIFICATION_METRICS["quadratic_weighted_kappa"]
    for num_groups, size in ((8, 12), (20, 8), (30, 5), (80, 5)):
        yield (
            f"kappa, LIMUC-like, {num_groups} groups of {size}",
            grades_case("quadratic_weighted_kappa", num_groups, size, truth=float(kappa(whole[0]))),
        )
    truth = float(CLASSIFICATION_METRICS["balanced_accuracy"](whole[0]))
    yield "balanced accuracy, LIMUC-like, 20 groups of 8", grades_case("balanced_accuracy", 20, 8, truth=truth)
    for name in ("macro_f1", "balanced_accuracy"):
        for rare in (1.0, 10.0, 20.0):
            yield f"{name.replace('_', ' ')}, landmarks, about {rare:.0f} of the rarest", landmarks_case(name, rare)
    for num_groups in (5, 8, 30, 100):
        yield f"paired difference of Dice, {num_groups} groups", paired_case(num_groups, truth=less)
    for num_groups, size in ((20, 8), (80, 5)):
        yield (
            f"paired difference of kappa, {num_groups} groups of {size}",
            kappa_difference_case(num_groups, size, truth=float(kappa(whole[0]) - kappa(whole[1]))),
        )


def main() -> None:
    num_draws = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    print(
        f"| case | covers | no interval | mean width | percentile bootstrap |\n|---|---|---|---|---|\n{num_draws} draws each",
        file=sys.stderr,
    )
    worst: list[str] = []
    for number, (title, draw) in enumerate(cases()):
        if len(sys.argv) > 2 and sys.argv[2] not in title:
            continue
        rng = np.random.default_rng([1, number])
        held, given, width, old = 0, 0, 0.0, 0
        for _ in range(num_draws):
            truth, found, (low, high) = draw(rng)
            old += low <= truth <= high
            if np.isfinite(found.low):
                given += 1
                held += found.low - 1e-12 <= truth <= found.high + 1e-12
                width += found.high - found.low
        # of a case that is nearly always withheld, what is left is too few to judge
        covers = f"{held / given:.3f} | {1 - given / num_draws:.0%} | {width / given:.3f}" if given > 0.1 * num_draws else "withheld | | "
        if given > 0.1 * num_draws and "exactly" not in title and not 0.93 <= held / given <= 0.97:
            worst.append(f"{title}: {held / given:.3f} of {given}")
        print(f"| {title} | {covers} | {old / num_draws:.3f} |", flush=True)
    print("outside .93 to .97: " + ("; ".join(worst) or "none"))


if __name__ == "__main__":
    main()
