"""Which files of a dataset's folder, other than its tars and their sidecars, are not what they were written as."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from curation.shards.dataset_folder import SUMS, read_sums
from curation.shards.plan import dataset_plan_id
from curation.shards.write import evidence_name, sidecar_name
from warehouse.records import Dataset, Shard
from warehouse.store import file_sha256, read_json

__all__ = ["folder_problems"]


def folder_problems(folder: Path, dataset: Dataset) -> list[str]:
    """What is wrong with them, in sentences that each begin with the file's name.

    The truth is the lake's for `dataset.json`, which has the hash of SHA256SUMS, which has the rest's. Datasets made before lack some
    of these hashes; then what the lake knows of the content is compared. Files that do not belong there are named too.

    Args:
        folder: of the dataset, with a `dataset.json` in it.
        dataset: as the lake has it.
    """
    sums = read_sums(folder)
    problems = []
    if not sums:
        problems.append(f"{SUMS}: the file is missing or empty, so sidecars and cards cannot be checked")
    of_shards = {name for shard in dataset.shards for name in (shard.name, sidecar_name(shard.name))}
    evidence = {evidence_name(shard.name) for shard in dataset.shards}
    for file_name in sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")):
        known = sums.keys() | of_shards | evidence | {"dataset.json", SUMS}
        if file_name not in known and (sums or file_name.endswith(".tar")):
            problems.append(f"{file_name}: does not belong to the dataset")
    for file_name, digest in sums.items():
        if file_name in of_shards:
            continue
        if not (folder / file_name).is_file():
            problems.append(f"{file_name}: the file is missing")
        elif (found := file_sha256(folder / file_name)) != digest:
            problems.append(f"{file_name}: its SHA-256 is {found}, {SUMS} says {digest}")
    problems += [
        f"{shard.name}: {SUMS} says {sums.get(shard.name)}, the lake {shard.sha256}"
        for shard in dataset.shards
        if sums and sums.get(shard.name) != shard.sha256
    ]
    members: list[Any] = []
    for shard in dataset.shards:
        found_problems, members_sha256 = _evidence_problems(folder, shard, sums)
        problems += found_problems
        members.append(members_sha256)
    return problems + _described_problems(folder, dataset, members)


def _evidence_problems(folder: Path, shard: Shard, sums: dict[str, str]) -> tuple[list[str], Any]:
    """Those of one tar's evidence, and what it says the tar was made from."""
    name = evidence_name(shard.name)
    said, problem = _read(folder / name)
    if problem:
        return [] if name in sums else [problem], None
    if name in sums:  # its hash was compared
        return [], said.get("members_sha256")
    # the lake knows all of it but where the members came from, and that goes into the plan's id
    wanted = {"shard": asdict(shard)} | ({"sidecar_sha256": sums[sidecar_name(shard.name)]} if sidecar_name(shard.name) in sums else {})
    problems = [f"{name}: its {key} is {said.get(key)!r}, expected {value!r}" for key, value in wanted.items() if said.get(key) != value]
    return problems, said.get("members_sha256")


def _described_problems(folder: Path, dataset: Dataset, members: list[Any]) -> list[str]:
    said, problem = _read(folder / "dataset.json")
    if problem:
        return [problem]
    wanted = {**asdict(dataset), "shards": [asdict(shard) for shard in dataset.shards], "num_shards": len(dataset.shards)}
    problems = [
        f"dataset.json: its {key} is not what the lake says"
        if key == "shards"
        else f"dataset.json: says {said.get(key)}, the lake says {value}"
        for key, value in wanted.items()
        if said.get(key) != value
    ]
    problems += [
        f"dataset.json: its key {key!r} does not belong there"
        for key in sorted(said.keys() - {*wanted, "plan_id", "version", "sums_sha256"})
    ]
    if (folder / SUMS).is_file() and "sums_sha256" in said and (found := file_sha256(folder / SUMS)) != said["sums_sha256"]:
        problems.append(
            f"{SUMS}: its SHA-256 is {found}, dataset.json says {said['sums_sha256']}; where no other file differs, that was changed"
        )
    if all(isinstance(one, str) for one in members) and said.get("plan_id") != dataset_plan_id(dataset.name, members, said.get("version")):
        problems.append(f"dataset.json: its plan_id or version was changed, or the members_sha256 in a {evidence_name('*.tar')}")
    return problems


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """A JSON object, or what is wrong with the file."""
    if not path.is_file():
        return {}, f"{path.name}: the file is missing"
    try:
        value = read_json(path)
    except ValueError as error:
        return {}, f"{path.name}: is no JSON ({error})"
    return (value, "") if isinstance(value, dict) else ({}, f"{path.name}: holds no JSON object")
