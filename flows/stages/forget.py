"""Forget patients or videos: everything of them leaves the lake, what was made of them is named, and they do not come in again."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flows.config import RunConfig
from flows.job import Job, one_at_a_time
from flows.runners import say
from flows.stages.patient import find_patient
from flows.stages.stage import Made
from warehouse.data_path import refuse_other_owner
from warehouse.dataset_queries import dataset_members
from warehouse.forgotten import Forgetting, read_records, request, write_record
from warehouse.lake import LakeError
from warehouse.lineage import completed_run_id, plan_run, run_outputs
from warehouse.locks import held_lock
from warehouse.maintenance import compact_catalog, maintain
from warehouse.object_store import is_uri
from warehouse.postgres import refuse_unless_owner
from warehouse.records import Artifact
from warehouse.searched import searched, searched_tables
from warehouse.snapshots import read_tags, remove_tag
from warehouse.store import atomic_file, canonical_json, content_id, read_json, write_parquet
from warehouse.traces import (
    Subject,
    Traces,
    delete_rows,
    find_traces,
    subject_of,
    videos_of_patient,
    videos_of_uri,
)

__all__ = ["find_subject", "run_forget", "say_traces"]

_PENDING = "pending"
_NOTHING = datetime.timedelta(0)
_BLOCK_BYTES = 4 << 20


def find_subject(job: Job, *, videos: Sequence[str], patients: Sequence[str]) -> Subject:
    """The videos that are named, and all videos of the patients that are named, by name (with the key of pseudonyms) or pseudonym.

    Raises:
        LakeError: a name stands for nothing in this lake.
    """
    if (job.lake.root / "forgotten" / _PENDING).is_file():
        raise LakeError(f"an earlier request was interrupted; finish it first: `endoforge forget --lake {job.lake.root} --resume`")
    ids = list(videos_of_uri(job.lake, videos))
    pseudonyms = [one for patient in patients for one in find_patient(job.lake, patient)]
    ids += [one for name in pseudonyms for one in videos_of_patient(job.lake, name)]
    return subject_of(job.lake, tuple(dict.fromkeys(ids)), tuple(dict.fromkeys(pseudonyms)))


def say_traces(traces: Traces) -> None:
    """What a lake holds of a subject, for a person who has to decide."""
    for table, count in sorted(traces.rows.items()):
        say(f"forget: {count} rows of {table}")
    say(f"forget: {len(traces.files)} files, {sum(path.stat().st_size for path in traces.files) / 1e6:.1f} MB")
    for _, name in traces.datasets:
        say(f"forget: dataset {name} holds pictures of them: it is withdrawn; of frames, it is written again without them")
    for run_id in traces.models:
        say(f"forget: model {run_id} has learned from them: it stays, and is marked in lineage, on its card and in its scores")
    if traces.num_scores:
        say(f"forget: {traces.num_scores} scores of those models are marked")
    for path in traces.exports:
        say(f"forget: {path} is an export of such a dataset: delete it and its copies yourself")
    say("forget: all older snapshots and tags of the lake go; backups lose them with the next `endoforge backup`")
    say("forget: exports and folders of predict and select-for-labels outside the lake are not reached: delete them yourself")


def run_forget(job: Job, subject: Subject | None, *, requested_by: str) -> Forgetting:
    """Remove all of a subject; None goes on with what was interrupted.

    Nothing else may write to the lake meanwhile: it waits for an ingest and a maintenance that run, and is refused while a stage works.

    Raises:
        LakeError: nothing is to be forgotten, another process works on the lake, its tables belong to another, or a transaction of its
            Postgres catalog does not end.
    """
    if job.lake.catalog.kind == "postgres":
        refuse_unless_owner(job.lake.catalog)
    refuse_other_owner(job.lake.data_path, job.lake.root, job.lake.catalog)
    root = job.lake.root
    pending = root / "forgotten" / _PENDING
    with (
        one_at_a_time(root / "ingest.lock", busy="an ingest works on this lake"),
        one_at_a_time(root / "maintenance.lock", busy="another process copies or maintains this lake"),
    ):
        if working := held_lock(root):
            raise LakeError(f"another process works on this lake and holds {working}; stop it, and the schedule, and type this again")
        if pending.is_file():
            stored = read_json(pending)
            subject = Subject(**{name: tuple(value) for name, value in stored["subject"].items()})
            record = next(one for one in read_records(root) if one.recorded_at == stored["recorded_at"])
            say("forget: going on with what was interrupted")
        else:
            if subject is None or not subject.video_ids:
                raise LakeError("nothing is to be forgotten; name a patient or a video of this lake")
            identifiers = (*subject.video_ids, *subject.patient_ids, *subject.pack_ids, *subject.part_ids)
            record = request(root, identifiers, requested_by=requested_by, num_videos=len(subject.video_ids))
            write_record(root, record)  # from now on they are not taken in again
            _keep(pending, {"subject": subject, "recorded_at": record.recorded_at})
        traces = find_traces(job.lake, subject)
        record = _merged(record, traces, _successors(job, subject, traces))
        write_record(root, record)
        files = _remembered(pending, traces)  # what names them goes with the rows
        _mark(job, record)
        delete_rows(job.lake, subject, withdrawn=list(record.datasets), message=f"forget {record.hashes[0][:16]}")
        num_bytes = _delete_files(root, files, _folders(job, record))
        for name in read_tags(root):
            remove_tag(job.lake, name)
            say(f"forget: tag {name} named a snapshot that held them, and is gone")
        for _ in range(2):  # the first writes the tables' files again, the second expires the snapshot that read the old ones
            maintain(job.lake, keep=_NOTHING, grace=_NOTHING, min_deleted=0.0)
        left = tuple(f"catalog table {table}" for table in compact_catalog(job.lake, subject.needles))
        left += tuple(str(path.relative_to(root)) for path in searched(root, subject.needles))
        if is_uri(job.lake.data_path):
            left += tuple(searched_tables(job.lake.data_path, subject.needles))
        record = replace(record, num_files=len(files), num_bytes=record.num_bytes or num_bytes, left=left)
        path = write_record(root, record)
        pending.unlink()
    _say_done(record, path)
    if job.lake.catalog.kind == "postgres":
        say("forget: the Postgres server's log of changes, its messages and its own backups are not reached: see docs, Privacy")
    if is_uri(job.lake.data_path):
        say("forget: versions that the tables' bucket keeps of deleted objects, and uploads cut off, are not reached: see docs, Privacy")
    return record


def _merged(record: Forgetting, traces: Traces, successors: dict[str, str]) -> Forgetting:
    """What was counted the first time stays: after an interruption there is less to count."""
    return replace(
        record,
        rows={**traces.rows, **record.rows},
        datasets={**successors, **record.datasets},
        models=tuple(dict.fromkeys((*record.models, *traces.models))),
    )


def _successors(job: Job, subject: Subject, traces: Traces) -> dict[str, str]:
    """Write each dataset that holds the subject's frames again without them; names by the id of the old one."""
    from flows.stages.shard import run_shard  # here: it loads what reads and writes pictures, which a refusal has no use for

    made = {}
    for dataset_id, name in traces.datasets:
        (row,) = job.lake.rows("SELECT * FROM datasets WHERE dataset_id = $1 AND name = $2", [dataset_id, name])
        if row["kind"] == "clips":
            say(f"forget: dataset {name} of clips has no successor; `endoforge curate --clips` makes another")
            made[dataset_id] = ""
            continue
        selection = _reduced_selection(job, subject, str(row["selection_id"]))
        num_left = 0 if selection is None else dataset_members(job.lake, selection.artifact_id, str(row["tree_id"])).num_rows
        if selection is None or num_left == 0:
            say(f"forget: nothing of dataset {name} is left without them; it has no successor")
            made[dataset_id] = ""
            continue
        if num_left < (selection.num_rows or 0):
            say(f"forget: {(selection.num_rows or 0) - num_left} more frames of dataset {name} are no candidates now, and are left out")
        settings = json.loads(
            str(job.lake.rows("SELECT config FROM runs WHERE run_id = $1 AND status = 'complete'", [row["run_id"]])[0]["config"])
        )
        shard = {key: value for key, value in settings.items() if key not in ("name", "seed")}
        base = RunConfig(lake=job.lake.root)
        config = replace(
            base, name=_name_of_successor(job, name, selection.artifact_id), seed=int(row["seed"]), shard=replace(base.shard, **shard)
        )
        tree, dedup = (
            Artifact(artifact_id=str(row[key]), kind=kind, uri="") for key, kind in (("tree_id", "cluster_tree"), ("dedup_id", "dedup"))
        )
        dataset = run_shard(job, config, Made(encoder_id=str(row["encoder_id"]), tree=tree, dedup=dedup, selection=selection))
        made[dataset_id] = dataset.name
    return made


def _reduced_selection(job: Job, subject: Subject, selection_id: str) -> Artifact | None:
    """The selection of a dataset without the subject's frames, recorded as one of its own; None if nothing is left."""
    rows = job.lake.query("SELECT * FROM selections WHERE selection_id = $1 ORDER BY rank", [selection_id])
    kept = [row for row in rows.to_pylist() if not row["frame_id"].startswith(subject.prefixes)]
    if not kept:
        return None
    new_id = content_id([[row["frame_id"], row["cluster_id"]] for row in kept])
    plan = plan_run(
        stage="forget",
        version=1,
        config={"selection": new_id},
        inputs=[Artifact(artifact_id=selection_id, kind="selection", uri="tables/main/selections")],
    )
    if completed_run_id(job.lake, plan):
        return run_outputs(job.lake, plan.run_id)[0]
    selection = Artifact(artifact_id=new_id, kind="selection", uri="tables/main/selections", num_rows=len(kept))
    staged = job.lake.root / "staging" / "forget" / f"{new_id}.parquet"
    write_parquet(staged, rows.from_pylist([{**row, "selection_id": new_id, "rank": rank} for rank, row in enumerate(kept)], rows.schema))
    with job.record(plan) as run:
        run.named_rows("selections", "selection_id", new_id, staged)
        run.output(selection)
        run.metrics.update(num_selected=len(kept), num_removed=rows.num_rows - len(kept))
    staged.unlink()
    return selection


def _name_of_successor(job: Job, name: str, selection_id: str) -> str:
    """NAME-r2 for NAME, NAME-r3 for NAME-r2; one that was written before an interruption again."""
    taken = {str(row["name"]) for row in job.lake.rows("SELECT name FROM datasets")}
    base, _, number = name.rpartition("-r")
    stem, first = (base, int(number) + 1) if base and number.isdecimal() else (name, 2)
    written = job.lake.rows("SELECT name FROM datasets WHERE selection_id = $1 AND starts_with(name, $2)", [selection_id, f"{stem}-r"])
    if written:
        return str(written[0]["name"])
    return next(found for count in range(first, first + 1000) if (found := f"{stem}-r{count}") not in taken)


def _mark(job: Job, record: Forgetting) -> None:
    """Say in the scores of models that have learned from what is forgotten that they have."""
    if not record.models:
        return
    with job.lake.transaction("forget"):
        job.lake.query(
            """UPDATE scores SET details = json_merge_patch(details::JSON, json_object('training_data', $2))::VARCHAR
               WHERE model_id IN (SELECT checkpoint_id FROM checkpoints WHERE list_contains($1, run_id))""",
            [list(record.models), f"part of its training data was withdrawn on {record.recorded_at[:10]}"],
        )


def _remembered(pending: Path, traces: Traces) -> list[Path]:
    """The files found now and before an interruption."""
    stored = read_json(pending)
    files = sorted({*stored.get("files", ()), *map(str, traces.files)})
    _keep(pending, {**stored, "files": files})
    return [Path(name) for name in files]


def _keep(pending: Path, value: object) -> None:
    with atomic_file(pending, is_private=True) as file:
        file.write(canonical_json(value).encode())


def _folders(job: Job, record: Forgetting) -> list[Path]:
    """Of the datasets that are withdrawn; their rows stay, for the lineage of models."""
    rows = job.lake.rows("SELECT DISTINCT path FROM datasets WHERE list_contains($1, dataset_id)", [list(record.datasets)])
    return [job.lake.root / str(row["path"]) for row in rows]


def _delete_files(root: Path, files: Sequence[Path], folders: Sequence[Path]) -> int:
    """Delete files and the folders of withdrawn datasets; pictures are overwritten first, as far as the disk allows."""
    num_bytes = 0
    paths = [*files, *(path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink())]
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            num_bytes += _erase(root, path)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return num_bytes


def _erase(root: Path, path: Path) -> int:
    """Overwrite and delete a file; of a link only the link goes, and work in progress is not written to."""
    if path.is_symlink():
        path.unlink()
        return 0
    size = path.stat().st_size
    if path.relative_to(root).parts[0] not in ("staging", ".prefect"):
        with open(os.open(path, os.O_WRONLY | os.O_NOFOLLOW), "wb", buffering=0) as file:
            for start in range(0, size, _BLOCK_BYTES):
                file.write(bytes(min(_BLOCK_BYTES, size - start)))
            os.fsync(file.fileno())
    path.unlink()
    return size


def _say_done(record: Forgetting, path: Path) -> None:
    say(f"forget: {record.num_videos} videos: {sum(record.rows.values())} rows and {record.num_files} files are gone")
    for successor in record.datasets.values():
        if successor:
            say(f"forget: dataset {successor} stands in for one that was withdrawn")
    if record.left:
        say(f"forget: NOT GONE: {len(record.left)} files still name them, such as {record.left[0]}")
        say("forget: look at them; never delete one below tables/, which the lake needs: report it instead")
    else:
        say("forget: every file of the lake was searched for their ids and places, and none has them")
    say(f"forget: signed record in {path}")
