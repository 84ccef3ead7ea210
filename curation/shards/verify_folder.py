"""Which files of a dataset's folder, other than its tars and their sidecars, are not what they were written as."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from curation.shards.dataset_folder import SUMS, read_sums
from curation.shards.write import sidecar_name
from warehouse.records import Dataset
from warehouse.store import file_sha256, read_json

__all__ = ["folder_problems"]


def folder_problems(folder: Path, dataset: Dataset) -> list[str]:
    """What is wrong with them, in sentences that each begin with the file's name.

    The truth about the tars and `dataset.json` is the lake's, about the rest that of SHA256SUMS. Files that do not belong there are named
    too.

    Args:
        folder: of the dataset.
        dataset: as the lake has it.
    """
    sums = read_sums(folder)
    of_shards = {name for shard in dataset.shards for name in (shard.name, sidecar_name(shard.name))}
    problems = [] if sums else [f"{SUMS}: the file is missing or empty, so sidecars and cards cannot be checked"]
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    problems += [
        f"{name}: does not belong to the dataset"
        for name in sorted(present - sums.keys() - of_shards - {"dataset.json", SUMS})
        if sums or name.endswith(".tar")
    ]
    problems += _described_problems(folder / "dataset.json", dataset, sums.get("dataset.json"))
    for name, digest in sums.items():
        if name in of_shards or name == "dataset.json":
            continue
        if name not in present:
            problems.append(f"{name}: the file is missing")
        elif (found := file_sha256(folder / name)) != digest:
            problems.append(f"{name}: its SHA-256 is {found}, {SUMS} says {digest}")
    for shard in dataset.shards:
        if sums and sums.get(shard.name) != shard.sha256:
            problems.append(f"{shard.name}: {SUMS} says {sums.get(shard.name)}, the lake {shard.sha256}")
    return problems


def _described_problems(path: Path, dataset: Dataset, digest: str | None) -> list[str]:
    """Those of `dataset.json`: of what the lake knows each key that differs, of the rest the hash."""
    if not path.is_file():
        return [f"{path.name}: the file is missing"]
    try:
        said = dict(read_json(path))
    except (ValueError, TypeError) as error:
        return [f"{path.name}: is no JSON object ({error})"]
    wanted = {**asdict(dataset), "shards": [asdict(shard) for shard in dataset.shards], "num_shards": len(dataset.shards)}
    problems = [f"{path.name}: its {key} is not what the lake says" for key, value in wanted.items() if said.get(key) != value]
    if not problems and digest and (found := file_sha256(path)) != digest:
        unknown = ", ".join(sorted(said.keys() - wanted))
        problems.append(f"{path.name}: its SHA-256 is {found}, {SUMS} says {digest}; the lake does not know its {unknown}")
    return problems
