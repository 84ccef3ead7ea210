"""A model's card: README.md with the front matter that the Hugging Face hub reads, from the lake's facts alone.

A card leaves the hospital. So names that a person chose freely are left out: folders of evaluation data, encoders by path, reviewers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from warehouse.dataset_card import audit_statement
from warehouse.markdown import markdown_table
from warehouse.model_facts import ModelData, ModelFacts, ModelTraining
from warehouse.records import Score

__all__ = ["HUB_LICENCES", "CardModel", "check_licence", "model_card"]

HUB_LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0", "openrail", "unlicense"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)
"""Licences that the hub knows by these ids and that weights are often given; any other is `other` with a name."""

UNSET_LICENCE = "to-be-set-by-the-owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardModel:
    """What the exported files say of the model."""

    title: str
    architecture: str
    num_parameters: int
    image_size: int
    patch_size: int
    dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: str | None
    """the recipe closest to the run's settings; None if the run is not known"""
    changed: tuple[tuple[str, str, str], ...]
    """setting, its value and the recipe's"""
    files: tuple[tuple[str, str], ...]
    """name and what it is"""
    usage: tuple[str, ...]
    """lines of Markdown"""
    num_frames: int | None = None
    """of a clip; None for a model of images"""

    @property
    def item(self) -> str:
        """What it gives features of."""
        return "image" if self.num_frames is None else "clip"


def check_licence(licence: str) -> None:
    """Refuse what the hub takes for no id.

    Raises:
        ValueError: it has other characters than small letters, digits, dots and dashes.
    """
    if licence and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise ValueError(f"licence is {licence!r}; give an id of small letters, digits, dots and dashes, such as cc-by-nc-4.0")


def model_card(model: CardModel, facts: ModelFacts, *, licence: str, public_names: Collection[str]) -> str:
    """The text of README.md.

    Args:
        model: what it is about.
        facts: what the lake knows of it.
        licence: id of the weights' licence; an empty one is marked as not set.
        public_names: of tasks and encoders; any other may be the name of a folder, and is left out.
    """
    lines = [
        *_front_matter(model, facts, licence),
        f"# {model.title}",
        "",
        _what_it_is(model),
        "",
        f"Checkpoint `{facts.checkpoint_id}` (SHA-256 of the weights as trained). `sha256sum -c SHA256SUMS` checks every file.",
        "",
        "## Files",
        "",
        *markdown_table(("file", "what it is"), model.files),
        *model.usage,
        "## Input",
        "",
        f"RGB{'' if model.num_frames is None else f', {model.num_frames} frames'} at {model.image_size} x {model.image_size} pixels, "
        f"patches of {model.patch_size}, resized bicubically. "
        f"Values from 0 to 1 have the mean {_numbers(model.mean)} taken away, and are divided by {_numbers(model.std)}.",
        "",
        "## Data",
        "",
        *(_data(facts.data) if facts.data else ["Not known: no finished run of the lake that wrote this card made the checkpoint.", ""]),
        "## Training",
        "",
        *(_training(model, facts, facts.training) if facts.training else ["Not known, for the same reason.", ""]),
        "## Energy",
        "",
        _energy(facts.training),
        "",
        "## Scores",
        "",
        *_scores(facts, public_names),
        "## Intended use",
        "",
        *_intended_use(model),
        "",
        "## Lineage",
        "",
        *_lineage(facts),
        "## Licence",
        "",
        f"`{licence}`, as the person who exported the weights has set it."
        if licence
        else f"**{UNSET_LICENCE}**: nobody has set a licence, so none is granted. `endoforge export-model --license ID` sets one. "
        "The terms of the institution that holds the recordings apply too.",
    ]
    return "\n".join(lines).rstrip() + "\n"


def _what_it_is(model: CardModel) -> str:
    learned, an = (
        ("by DINO, iBOT and KoLeo", "an image") if model.num_frames is None else ("by matching views of clips (Endo-FM)", "a clip")
    )
    return (
        f"A vision transformer ({model.architecture}, {model.num_parameters:,} parameters) for {model.item}s of gastrointestinal "
        f"endoscopy, trained without labels {learned}. It gives {model.dim} features {an}. Made by EndoForge."
    )


def _intended_use(model: CardModel) -> tuple[str, ...]:
    uses = f"Features for research on {model.item}s of gastrointestinal endoscopy: retrieval, linear probes, fine-tuning, segmentation."
    return (uses, "", *_LIMITS)


_LIMITS = (
    "- It is no medical device. It was not tested for diagnosis, and nothing here supports a decision about a patient.",
    "- What the training archive lacks (devices, populations, findings), the model has not seen. The dataset's card says what it holds.",
    "- Scores hold for the benchmarks named above alone. Test it on data of your own before you rely on it.",
    "- Weights can memorise. Treat them as derived from patient data, under the terms by which the recordings may be used.",
)


def _front_matter(model: CardModel, facts: ModelFacts, licence: str) -> list[str]:
    named = ["license: other", f"license_name: {licence or UNSET_LICENCE}"]
    kinds = ("timm", "image-feature-extraction", "dinov2") if model.num_frames is None else ("video", "endo-fm")
    return [
        "---",
        *([f"license: {licence}"] if licence in HUB_LICENCES else named),
        *(["library_name: timm", "pipeline_tag: image-feature-extraction"] if model.num_frames is None else []),
        "tags:",
        *(f"- {tag}" for tag in (*kinds, "medical", "endoscopy", "gastroenterology", "endoforge")),
        *(["datasets:", f"- {json.dumps(facts.data.name)}"] if facts.data else []),
        "---",
        "",
    ]


def _data(data: ModelData) -> list[str]:
    found = f"{data.num_videos:,} videos, {data.duration_s / 3600:.1f} hours of footage" if data.num_videos else "videos that are not known"
    patients = f", {data.num_patients:,} known patients" if data.num_patients else ""
    lines = [f"Dataset `{data.name}`, content id `{data.dataset_id}`: {data.num_images:,} {_items(data)} from {found}{patients}.", ""]
    if data.withdrawn_on:
        said = "It held frames that were removed at the request of those they show; the model was trained before that."
        lines += [f"**Part of this dataset was withdrawn on {data.withdrawn_on}.** {said}", ""]
    if data.funnel:
        lines += markdown_table(
            ("step", "clips" if data.audit.is_of_clips else "frames"), [(step, f"{number:,}") for step, number in data.funnel]
        )
    return [*lines, " ".join(_audit_sentences(data)), ""]


def _items(data: ModelData) -> str:
    return "clips" if data.audit.is_of_clips else "images"


def _audit_sentences(data: ModelData) -> list[str]:
    verdict, audit = data.audit, data.audit.audit
    if audit is None:
        said = [f"Privacy: no person has looked through a sample of the training {_items(data)}."]
    elif audit.status == "open":
        said = [f"Privacy: a sample of the training {_items(data)} was drawn, and no person has signed it off yet."]
    else:
        said = [f"Privacy: {audit_statement(audit, item='clips' if verdict.is_of_clips else 'frames')}"]
    if verdict.num_removed:
        said.append(f"Of the training images, {verdict.num_removed:,} were removed since for what they showed: train again without them.")
    return said


def _training(model: CardModel, facts: ModelFacts, training: ModelTraining) -> list[str]:
    assert facts.checkpoint is not None  # whose run it is
    checkpoint, config = facts.checkpoint, training.config
    steps, batch = checkpoint.step, config["train"]["batch_size"]
    metric = checkpoint.validation_metric.rpartition("/")[2]  # before it stands the task's name, which may be a folder's
    rank = "the highest" if checkpoint.is_best else "not the highest"
    hours = "not logged" if training.trained_s is None else f"{_hours(training.trained_s)}, from the logged {model.item}s a second"
    workers = "not recorded"
    if training.num_workers is not None:
        devices = "on the CPU" if not training.num_gpus else f"on {training.num_gpus} GPUs"
        workers = f"{training.num_workers} {devices} at the last start"
    rows = [
        ("recipe", f"{model.recipe} and the changes below" if model.changed else str(model.recipe)),
        ("step", f"{steps:,} of {config['train']['num_steps']:,}, {batch:,} {model.item}s each: {steps * batch:,} in all"),
        ("time in steps", hours),
        ("workers", workers),
        ("validation", f"{metric} {checkpoint.validation_score:.3f}, {rank} score of its run"),
        ("seed", "none" if training.seed is None else str(training.seed)),
        ("code", training.code_version),
        ("finished", training.ended_at),
    ]
    if training.started_from:
        rows.append(("started from", ", ".join(f"weights {one}" for one in training.started_from)))
        if checkpoint.step == 0:
            rows.append(("changed since", "nothing: these are the weights that the run started from, and their licence applies"))
    lines = markdown_table(("what", "value"), rows)
    if model.changed:
        lines += markdown_table(("setting", "value", f"in {model.recipe}"), model.changed)
    return [*lines, "The recipe is the one that is closest: a run records its settings, not the recipe's name.", ""]


def _energy(training: ModelTraining | None) -> str:
    parts = (("GPUs (NVML)", training.energy_gpu_j), ("processors (RAPL)", training.energy_cpu_j)) if training else ()
    if training is None or all(joules is None for _, joules in parts):
        why = "no counter of the machine could be read, several machines trained, or an earlier version did"
        return f"Not measured: {why}. No estimate is made."
    said = ", ".join(f"{what} {'not measured' if joules is None else f'{joules / 3.6e6:.3f} kWh'}" for what, joules in parts)
    since = f" from step {training.energy_from_step:,} on" if training.energy_from_step else ""
    return (
        f"Measured{since} to the end of the run, by counters of the machine: {said}. This includes validation and whatever else ran there, "
        "and neither memory, disks, cooling nor losses."
    )


def _scores(facts: ModelFacts, public_names: Collection[str]) -> list[str]:
    if not facts.scores:
        return ["None: `endoforge evaluate` has not scored this checkpoint.", ""]
    lines = [
        "The backbone is frozen. What is chosen is chosen on the validation split, and scores are of the test split. Brackets are 95% "
        "intervals over patients, or over images if the data names no patients.",
        "",
    ]
    for (task, data_id), scores in _by_benchmark(_without_single_folds(facts.scores)).items():
        name = task if task in public_names else "a benchmark of the owner"
        rows = [
            (_spaced(score.head), _spaced(score.metric), _model_name(score, facts.checkpoint_id, public_names), _interval(score))
            for score in scores
            if "/" not in score.metric or task in public_names  # such metrics name a class of the owner's
        ]
        first = scores[0]
        lines += [
            f"### {name}",
            "",
            f"Data `{data_id[:16]}`, {first.num_items:,} items of {first.num_groups:,} groups{_all_folds(first)}.",
            "",
        ]
        lines += markdown_table(("head", "metric", "model", "score"), rows)
        lines += [*_verdicts(scores, facts), ""]
    return lines


def _without_single_folds(scores: Sequence[Score]) -> list[Score]:
    """Scores without those of single folds where there is one of all folds of the same division."""
    rotated = {(score.task, score.details.get("split_protocol")) for score in scores if score.details.get("fold") == "all"}
    return [
        score
        for score in scores
        if score.details.get("fold", "all") == "all" or (score.task, score.details.get("split_protocol")) not in rotated
    ]


def _all_folds(score: Score) -> str:
    return f", {score.details['num_folds']} folds tested in turn" if score.details.get("fold") == "all" else ""


def _by_benchmark(scores: Sequence[Score]) -> dict[tuple[str, str], list[Score]]:
    found: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        found.setdefault((score.task, score.data_id), []).append(score)
    return found


def _model_name(score: Score, checkpoint_id: str, public_names: Collection[str]) -> str:
    """Never a path: an encoder may be a folder, and a folder's name may be anything."""
    if score.model_id == checkpoint_id:
        return "this model"
    if score.model in ("random weights", "no picture"):
        return score.model
    return score.model if score.model in public_names else f"encoder {score.model_id[:16]}"


def _interval(score: Score) -> str:
    if score.details.get("fold") == "all" and "mean" in score.details:
        spread = f"folds {score.details['mean']} ± {score.details['sd']}"
        return f"{_value(score)}; {spread}"
    return _value(score)


def _value(score: Score) -> str:
    if score.value != score.value:
        return "undefined"
    if score.ci_low != score.ci_low:
        return f"{score.value:.3f} ({score.details.get('interval', 'no interval: one group')})"
    return f"{score.value:.3f} [{score.ci_low:.3f}, {score.ci_high:.3f}]"


def _verdicts(scores: Sequence[Score], facts: ModelFacts) -> list[str]:
    """Of the benchmark's own splits, and of its pictures among the training frames."""
    num_leaks = max(int(score.details.get("num_leaks", 0)) for score in scores)
    held_out = facts.data.held_out if facts.data else None
    verdict = scores[0].details.get("leak")
    own = (
        f"**leaks**: {num_leaks} kinds of overlap between its splits were found, so these scores are too high"
        if num_leaks
        else "no patient and no byte-identical image stands in two of its splits"
    )
    if verdict is not None:
        kinds = scores[0].details.get("leak_kinds")
        said = f"**{verdict}**" + (f" (by kind: {kinds})" if kinds else "")
        own = f"{said}; patients {scores[0].details.get('patients', 'unknown')}"
    if facts.data is None:
        against = "not known: the training data is not in the lake that wrote this card"
    elif held_out is None:
        against = "**not searched**: the training frames were never compared with held-out pictures, so some of these may be among them"
    else:
        against = (
            f"searched: the training frames were compared with {held_out.num_pictures:,} held-out pictures, {held_out.num_copies:,} copies "
            f"were found and {held_out.num_excluded:,} frames left out (run `{held_out.run_id}`). Whether this benchmark was among the "
            "held-out pictures is not recorded"
        )
    learned = {s.details["leak_pretraining"] for s in scores if s.model_id == facts.checkpoint_id and "leak_pretraining" in s.details}
    found = f"**{', '.join(sorted(learned))}**; " if learned else ""
    return [f"- Leaks within the benchmark: {own}.", f"- Leaks from the training data: {found}{against}."]


def _lineage(facts: ModelFacts) -> list[str]:
    if facts.training is None or facts.data is None:
        return [f"The weights are `{facts.checkpoint_id}`. Another lake made them, which can tell more.", ""]
    short = facts.checkpoint_id[:16]
    return [
        f"Run `{facts.training.run_id}` made it from dataset `{facts.data.name}`. Ids are content hashes; only the lake knows their files. "
        "Whoever has the lake can ask which frames and videos it has seen:",
        "",
        "```",
        f"endoforge lineage --lake LAKE {short}",
        f"endoforge sql --lake LAKE \"SELECT DISTINCT frame_id FROM shard_frames WHERE dataset_id = '{facts.data.dataset_id}'\"",
        "```",
        "",
    ]


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours" if seconds >= 360 else f"{seconds:.0f} seconds"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
