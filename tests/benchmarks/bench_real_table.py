"""The table of real data in docs/benchmarks.md: heads on frozen backbones over Kvasir-SEG, CVC-ClinicDB and what is derived from them.

    python tests/benchmarks/bench_real_table.py LAKE MODEL [PART ...]

MODEL is what `endoforge evaluate --model` takes. A PART is a name of `PARTS`, or PART:HEAD; all unless given. Needs
ENDOFORGE_REAL_DATA. Each line has the CPU minutes of one head, those of extraction included where no head before it had read the same
maps. A part is stored in LAKE and is found there by the next call. Rows equal those of the command with the same options, which adds
random weights and a picture-blind guess; the former cost as much again. Peak memory is 2 GB.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from evaluation.config import EvaluateConfig
from evaluation.report import render_scorecard
from evaluation.run import evaluate_model, reference_scores
from evaluation.tasks import configured_task, readable_task
from flows.stages.leaks import pretraining_overlap, split_leaks
from flows.stages.scored_models import scored_model
from warehouse.lake import open_lake
from warehouse.records import Score

SIDE_224 = EvaluateConfig(image_size=224, clinical=True)
SIDE_352 = replace(SIDE_224, image_size=352)
BOOSTED = replace(SIDE_224, boosted_input_scale=1.0)
SHORT = replace(SIDE_224, decoder_epochs=4)
SMALL = replace(SIDE_224, image_size=128)
FEW = replace(SMALL, few_shot=True, grid_steps=500)
TUNED = replace(SMALL, tune_epochs=3, finetune_learning_rates=(1e-4,), lora_learning_rates=(1e-3,))
MASKS = ("unet", "fpn", "linear")
CLASSES = ("knn", "linear", "linear_grid")

PARTS: dict[str, tuple[str, EvaluateConfig, tuple[str, ...]]] = {
    "kvasir": ("kvasir_seg", SIDE_224, MASKS),
    "cvc": ("cvc_clinicdb", SIDE_224, MASKS),
    "kvasir-to-cvc": ("kvasir_seg_to_cvc", SIDE_224, MASKS),
    "cvc-to-kvasir": ("cvc_to_kvasir_seg", SIDE_224, MASKS),
    "sizes": ("kvasir_size4", SMALL, (*CLASSES, "ordinal")),
    "patches": ("patch_polyp_vs_mucosa", SMALL, CLASSES),
    "sizes-few": ("kvasir_size4", FEW, (*CLASSES, "ordinal")),
    "patches-few": ("patch_polyp_vs_mucosa", FEW, CLASSES),
    "kvasir-352": ("kvasir_seg", SIDE_352, ("unet",)),
    "kvasir-boosted": ("kvasir_seg", BOOSTED, ("boosted_linear",)),
    "cvc-boosted": ("cvc_clinicdb", BOOSTED, ("boosted_linear",)),
    "kvasir-to-cvc-boosted": ("kvasir_seg_to_cvc", BOOSTED, ("boosted_linear",)),
    "cvc-to-kvasir-boosted": ("cvc_to_kvasir_seg", BOOSTED, ("boosted_linear",)),
    "kvasir-dpt": ("kvasir_seg", SHORT, ("dpt",)),
    "cvc-dpt": ("cvc_clinicdb", SHORT, ("dpt",)),
    "kvasir-to-cvc-dpt": ("kvasir_seg_to_cvc", SHORT, ("dpt",)),
    "cvc-to-kvasir-dpt": ("cvc_to_kvasir_seg", SHORT, ("dpt",)),
    "sizes-tuned": ("kvasir_size4", TUNED, ("finetune", "lora")),
    "patches-tuned": ("patch_polyp_vs_mucosa", TUNED, ("finetune", "lora")),
}
"""task, settings and heads"""


def measure(root: Path, data: Path, told: str, asked: str) -> list[Score]:
    """Score the heads of a part one by one, and print each."""
    part, _, only = asked.partition(":")
    task_name, config, heads = PARTS[part]
    scores: list[Score] = []
    with open_lake(root, create=True) as lake:
        model, _ = scored_model(lake, told)
        task, identity = readable_task(configured_task(task_name, data, config, fold=None))
        leak = split_leaks(lake, task, identity, config)
        learned = {model.model_id: pretraining_overlap(lake, model.model_id, task, identity, data, config)}
    for head in (only,) if only else heads:
        started = time.process_time()
        rows = evaluate_model(
            model,
            task=task,
            identity=identity,
            config=replace(config, heads=(head,)),
            cache_dir=str(root / "staging" / "evaluate"),
            root=str(root.absolute()),
            data=str(data.absolute()),
            leak=leak,
            pretraining=learned,
        )
        minutes = (time.process_time() - started) / 60
        for score in (row for row in rows if row.details.get("draw", "mean") == "mean"):
            print(f"{part} {_line(score)} {minutes:.1f} CPU min", flush=True)
        with (root / "table.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"part": part, "cpu_minutes": minutes, **asdict(score)}) + "\n" for score in rows)
        scores += rows
    scores += (references := reference_scores(task, identity=identity, config=config, leak=leak))
    for score in references:
        print(f"{part} {_line(score)}", flush=True)
    return scores


def _line(score: Score) -> str:
    details = score.details
    shots = f" {details['shots']} shots" if "shots" in details else ""
    said = ", ".join(f"{name} {details[name]}" for name in ("val_dice", "epoch", "leak", "patients", "image_size") if name in details)
    value = f"{score.value:.3f} [{score.ci_low:.3f}, {score.ci_high:.3f}]"
    tested = f"{score.num_items} images, {score.num_groups} groups"
    return f"{score.task} {score.model} {score.head}{shots} {score.metric} {value} ({tested}; {said})"


def main() -> None:
    """Measure, and write the page of all that was measured."""
    root, told, *parts = sys.argv[1:]
    data = Path(os.environ["ENDOFORGE_REAL_DATA"])
    scores = [score for part in parts or PARTS for score in measure(Path(root), data, told, part)]
    render_scorecard(scores, root=Path(root), path=Path(root) / f"scorecard-{Path(told).name}.html")


if __name__ == "__main__":
    main()
