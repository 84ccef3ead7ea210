"""What is done with datasets that are there: checking them, and writing them for other tools."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from pathlib import Path

from curation.shards import (
    SUMS,
    ExportFormat,
    ShardCheck,
    ShardExport,
    export_shard,
    folder_problems,
    read_sums,
    sidecar_name,
    verify_shard,
    write_metadata,
)
from flows.job import Job
from flows.runners import Runner, say, successes, track
from flows.stages.audit_words import dataset_sentence
from flows.stages.cards import data_file, make_cards
from warehouse.artifacts import artifact_of
from warehouse.clips import dataset_kind, export_clip_shard_rows
from warehouse.dataset_audit import dataset_audit
from warehouse.dataset_list import dataset_row, shard_settings
from warehouse.dataset_queries import dataset_named, export_shard_rows
from warehouse.lake import Lake, LakeError
from warehouse.lineage import by_person, plan_run
from warehouse.records import Artifact, Dataset
from warehouse.store import file_sha256

__all__ = ["export_dataset", "verify_dataset"]


def verify_dataset(lake: Lake, runner: Runner, name: str) -> tuple[str, ...]:
    """Read all of a dataset again; problems in sentences, and none if it is whole.

    A problem is what differs from its hashes or from the lake's rows, and any removed frame that it holds.

    Raises:
        LakeError: there is no such dataset.
    """
    dataset = dataset_named(lake, name)
    folder = lake.root / dataset.path
    if not (folder / "dataset.json").is_file():
        return (f"{dataset.path}/dataset.json: the file is missing",)
    sums = read_sums(folder)
    problems = folder_problems(folder, dataset)
    with tempfile.TemporaryDirectory() as work:
        kind = dataset_kind(lake, name)
        parts = (export_clip_shard_rows if kind == "clips" else export_shard_rows)(lake, dataset, Path(work, "rows"))
        checks = [
            ShardCheck(
                shard=shard.name,
                folder=str(folder),
                num_bytes=shard.num_bytes,
                sha256=shard.sha256,
                sidecar_sha256=sums.get(sidecar_name(shard.name)),
                expected=str(parts[shard.name]),
                kind=kind,
            )
            for shard in dataset.shards
        ]
        results = successes(runner.map(verify_shard, checks), stage="verify")
        for found_in_shard in track(results, description="verify shards", total=len(checks)):
            problems += found_in_shard
    verdict = dataset_audit(lake, dataset.dataset_id)
    if verdict.num_removed:
        problems.append(f"{dataset.path} holds {verdict.num_removed} frames that were removed later; curate another and delete its shards")
    say(f"verify: {len(dataset.shards)} shards, {dataset.num_images} {kind}: {f'{len(problems)} problems' if problems else 'whole'}")
    say(f"verify: {dataset_sentence(verdict, lake.root)}")
    return tuple(problems)


def export_dataset(job: Job, name: str, *, format: ExportFormat, out: Path) -> None:
    """Write a dataset to a new folder, with cards of today's state, and record by whom; an export that cannot be recorded is not made.

    Raises:
        LakeError: there is no such dataset, it lacks files, or it holds frames that were removed later.
        ValueError: `out` is there already.
    """
    lake = job.lake
    dataset = dataset_named(lake, name)
    if dataset_kind(lake, name) == "clips":
        raise LakeError(f"dataset {name!r} is of clips, and these are not exported; copy its folder {lake.root / dataset.path} as it is")
    verdict = dataset_audit(lake, dataset.dataset_id)
    if verdict.num_removed:
        raise LakeError(f"dataset {name!r} holds {verdict.num_removed} frames that were removed later; curate another and export that")
    if out.exists():
        raise ValueError(f"{out} is there already, and an export is never mixed with other files; give a new folder as --out")
    folder = lake.root / dataset.path
    missing = [file for shard in dataset.shards for file in (shard.name, sidecar_name(shard.name)) if not (folder / file).is_file()]
    if missing:
        raise LakeError(
            f"dataset {name!r} lacks {len(missing)} of its files, such as {missing[0]}; `endoforge verify` tells more, and "
            "`endoforge curate --name OTHER` makes it again"
        )
    partial = out.with_name(f".{out.name}.partial")
    if partial.exists():  # of an export that was killed
        shutil.rmtree(partial)
    now = datetime.datetime.now(datetime.UTC).isoformat()
    told = {"dataset": name, "format": format, "path": str(out.absolute()), "at": now}
    with job.record(by_person(plan_run(stage="export", version=1, config=told, inputs=[artifact_of(dataset)]))) as run:
        num_images = _write_export(job, dataset, format, partial)
        digest = file_sha256(partial / SUMS)
        uri = out.absolute().as_uri()
        run.output(Artifact(artifact_id=digest, kind="dataset_export", uri=uri, sha256=digest, num_rows=num_images))
        run.metrics["num_images"] = num_images
    partial.rename(out)
    say(f"export: {num_images} images of dataset {name!r} in {out}")
    say(f"export: {dataset_sentence(verdict, lake.root)}")


def _write_export(job: Job, dataset: Dataset, format: ExportFormat, partial: Path) -> int:
    """Fill a folder with a dataset's files, cards and their hashes; returns the number of images."""
    folder = job.lake.root / dataset.path
    data = partial if format == "imagefolder" else partial / "data"
    data.mkdir(parents=True)
    exports = [
        ShardExport(
            shard=shard.name,
            folder=str(folder),
            sha256=shard.sha256,
            out=str(data),
            format=format,
            target=f"train-{number:05d}-of-{len(dataset.shards):05d}.parquet",
        )
        for number, shard in enumerate(dataset.shards)
    ]
    results = successes(job.runner.map(export_shard, exports), stage="export")
    num_images = sum(track(results, description="export shards", total=len(exports)))
    if format == "imagefolder":
        num_images = write_metadata(folder, [shard.name for shard in dataset.shards], partial / "metadata.csv")
        named = [partial / "metadata.csv"]
    elif format == "hf":
        named = [data / "samples.parquet"]
        shutil.copyfile(folder / "samples.parquet", named[0])
    else:
        named = [data / export.target for export in exports]
    cards = make_cards(
        job.lake,
        dataset,
        made_from=dataset_row(job.lake, dataset.name),
        settings=shard_settings(job.lake, dataset.name),
        form=format,
        files=[data_file(path, partial) for path in named],
    )
    for file, text in cards.items():
        (partial / file).write_text(text)
    names = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
    (partial / SUMS).write_text("".join(f"{file_sha256(partial / file)}  {file}\n" for file in names))
    return num_images
