"""What is done with datasets that are there: checking them, and writing them for other tools."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from curation.dataset_folder import SUMS, read_sums
from curation.export_metadata import write_metadata
from curation.export_shard import ExportFormat, ShardExport, export_shard
from curation.shards import sidecar_name
from curation.verify_folder import folder_problems
from curation.verify_shard import ShardCheck, verify_shard
from flows.audit import audit_sentence
from flows.cards import make_cards
from flows.progress import say, track
from flows.runners import Runner, successes
from warehouse.audits import datasets_with_removed
from warehouse.dataset_list import dataset_row, shard_settings
from warehouse.lake import Lake, LakeError
from warehouse.queries import dataset_named, export_shard_rows
from warehouse.store import file_sha256

__all__ = ["export_dataset", "verify_dataset"]


def verify_dataset(lake: Lake, runner: Runner, name: str) -> tuple[str, ...]:
    """Read all of a dataset again; what differs from its hashes or from the lake's rows, in sentences, and nothing where it is whole.

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
        parts = export_shard_rows(lake, dataset, Path(work, "rows"))
        checks = [
            ShardCheck(
                shard=shard.name,
                folder=str(folder),
                num_bytes=shard.num_bytes,
                sha256=shard.sha256,
                sidecar_sha256=sums.get(sidecar_name(shard.name)),
                expected=str(parts[shard.name]),
            )
            for shard in dataset.shards
        ]
        results = successes(runner.map(verify_shard, checks), stage="verify")
        for found_in_shard in track(results, description="verify shards", total=len(checks)):
            problems += found_in_shard
    say(f"verify: {len(dataset.shards)} shards, {dataset.num_images} images: {f'{len(problems)} problems' if problems else 'whole'}")
    return tuple(problems)


def export_dataset(lake: Lake, runner: Runner, name: str, *, format: ExportFormat, out: Path) -> None:
    """Write a dataset to a new folder, with cards of today's state.

    Raises:
        LakeError: there is no such dataset, or it holds frames that were removed later.
        ValueError: `out` is there already.
    """
    dataset = dataset_named(lake, name)
    if removed := datasets_with_removed(lake, dataset_id=dataset.dataset_id):
        raise LakeError(f"dataset {name!r} holds {max(removed.values())} frames that were removed later; curate another and export that")
    if out.exists():
        raise ValueError(f"{out} is there already, and an export is never mixed with other files; give a new folder as --out")
    partial = out.with_name(f".{out.name}.partial")
    if partial.exists():  # of an export that was killed
        shutil.rmtree(partial)
    data = partial if format == "imagefolder" else partial / "data"
    data.mkdir(parents=True)
    folder = lake.root / dataset.path
    if not all((folder / sidecar_name(shard.name)).is_file() for shard in dataset.shards):
        raise LakeError(
            f"dataset {name!r} has no sidecars; `endoforge verify` tells more, and `endoforge curate --name OTHER` makes it anew with them"
        )
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
    results = successes(runner.map(export_shard, exports), stage="export")
    num_images = sum(track(results, description="export shards", total=len(exports)))
    row = dataset_row(lake, name)
    cards = make_cards(lake, dataset, made_from=row, settings=shard_settings(lake, name), form=format)
    (partial / "README.md").write_text(cards["README.md"])
    if format == "imagefolder":
        num_images = write_metadata(folder, [shard.name for shard in dataset.shards], partial / "metadata.csv")
    if format == "hf":
        (partial / "croissant.json").write_text(cards["croissant.json"])
        shutil.copyfile(folder / "samples.parquet", data / "samples.parquet")
    names = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
    (partial / SUMS).write_text("".join(f"{file_sha256(partial / file)}  {file}\n" for file in names))
    partial.rename(out)
    say(f"export: {num_images} images of dataset {name!r} in {out}")
    say(f"export: {audit_sentence(lake, dataset.dataset_id)}")
