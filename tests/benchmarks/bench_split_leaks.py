"""How many training pictures of published splits are copies of what the same split tests on, counted by the product's own hold-out.

    ENDOFORGE_REAL_DATA=... python tests/benchmarks/bench_split_leaks.py

The training pictures are ingested as folders of stills with every filter open, embedded, and curated with the test pictures as --holdout;
the view holdout_matches is what is counted. Beside each count stands how many training files are the very same file as a test file: the
floor that a search may not miss. Of splits whose pictures are not here, the lists are compared by name and by patient.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flows.cli.cli import main as endoforge
from warehouse.lake import open_lake
from warehouse.store import file_sha256

DATA = Path(os.environ.get("ENDOFORGE_REAL_DATA", "."))
OPEN = "--min-blur 0 --min-luma 0 --max-luma 255 --max-dark-share 1 --max-bright-share 1 --max-specular-share 1 --max-bubble-share 1 "
OPEN += "--max-stool-share 1 --freeze-motion 0 --max-hash-distance 0 --max-out-of-body 1 --text off --settle-s 0"
Pictures = dict[str, Path]
"""by the place that they get, folder/file"""


def endofm() -> tuple[Pictures, Pictures]:
    """Endo-FM's "CVC-12k", a folder a range of frames."""
    with (DATA / "splits" / "cvc_clinicdb_sequences.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    parts: dict[str, Pictures] = {"train": {}, "test": {}}
    with (DATA / "splits" / "cvc_clinicdb_endofm_published.csv").open() as file:
        for row in csv.DictReader(file):
            first = int(row["first_frame"])
            for name in names[first - 1 : first - 1 + int(row["num_frames"])]:
                parts[row["split"]][f"{first:03d}/{name}"] = DATA / "cvc_clinicdb" / "images" / name
    return parts["train"], parts["test"]


def effisegnet() -> tuple[Pictures, Pictures]:
    """EffiSegNet's 800/100/100 of Kvasir-SEG; what it validates and tests on is held out."""
    parts: dict[str, Pictures] = {"train": {}, "test": {}}
    with (DATA / "splits" / "kvasir_seg_effisegnet_split.csv").open() as file:
        for row in csv.DictReader(file):
            part = "train" if row["split"] == "train" else "test"
            parts[part][f"{row['split']}/{row['file']}"] = DATA / "kvasir_seg" / "images" / row["file"]
    return parts["train"], parts["test"]


def placed(pictures: Pictures, folder: Path) -> Path:
    for place, path in pictures.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / place)
    return folder


def run(*words: object) -> None:
    assert endoforge([*map(str, words), "--runner", os.environ.get("ENDOFORGE_BENCH_RUNNER", "serial")]) == 0


def report(title: str, train: Pictures, test: Pictures) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        lake = root / "lake"
        run("ingest", placed(train, root / "train"), "--lake", lake, *OPEN.split())
        run("embed", "--lake", lake)
        held = placed(test, root / "test")
        run("curate", "--lake", lake, "--name", "clean", "--size", len(train), "--holdout", held, "--holdout-scope", "frame")
        with open_lake(lake, read_only=True) as opened:
            (kept,) = opened.rows("SELECT count(*) AS n FROM candidates")
            found = opened.rows("SELECT frame_id, video, match, reference FROM holdout_matches WHERE via_frame_id IS NULL")
    tested = {file_sha256(path) for path in test.values()}
    same = sum(file_sha256(path) in tested for path in train.values())
    of_train, of_test = ({place.split("/")[0] for place in pictures} for pictures in (train, test))
    from_train, from_test = {row["video"] for row in found}, {row["reference"].split("/")[-2] for row in found}
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(Counter(row["match"] for row in found).items())) or "none"
    print(f"\n{title}: {len(found)} of {kept['n']} training pictures are copies of one of {len(test)} held-out ones ({kinds});")
    print(f"  {same} of {len(train)} are the same file; {len(found) - same:+d} found beyond or short of these")
    print(f"  in {len(from_train)} of {len(of_train)} training and {len(from_test)} of {len(of_test)} test folders", flush=True)


def lists() -> None:
    """Splits of which only the lists are here: what they share by name, and by patient where a name tells it."""
    print("\nby the lists alone")
    for fold in range(10):
        parts: list[set[str]] = []
        for part in ("train", "val"):
            by_class = json.loads((DATA / "splits" / "limuc" / f"fold_{fold}_{part}.json").read_text())
            parts.append({name for names in by_class.values() for name in names})
        patients = [{name.rsplit("_", 1)[0] for name in part} for part in parts]
        shared(f"LIMUC fold {fold}", parts[0], parts[1], patients)
    train, val = ((DATA / "splits" / "kvasir_seg_medico2020" / f"{part}.txt").read_text().split() for part in ("train", "val"))
    shared("Kvasir-SEG 880/120 (Medico 2020)", set(train), set(val), None)
    for folds in (2, 5):
        with (DATA / "splits" / "hyper_kvasir" / f"{folds}_fold_split.csv").open() as file:
            rows = list(csv.DictReader(file, delimiter=";"))
        folds_of: dict[str, set[str]] = {}
        for row in rows:
            folds_of.setdefault(row["file-name"], set()).add(row["split-index"])
        several = sum(len(found) > 1 for found in folds_of.values())
        print(f"  HyperKvasir, {folds} folds: {len(folds_of)} images, {several} of them in several folds; patients are not named")


def shared(title: str, train: set[str], val: set[str], patients: Sequence[set[str]] | None) -> None:
    both = f", patients in both {len(patients[0] & patients[1])}" if patients else ""
    print(f"  {title}: {len(train)} train, {len(val)} validation, images in both {len(train & val)}{both}")


if __name__ == "__main__":
    report('Endo-FM\'s "CVC-12k"', *endofm())
    report("EffiSegNet's Kvasir-SEG", *effisegnet())
    lists()
