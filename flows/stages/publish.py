"""Send a dataset's folder to an object store, where training reads its shards."""

from __future__ import annotations

import datetime
from pathlib import Path

from curation.shards import SUMS, FileSending, read_sums, send_file
from flows.job import Job, one_at_a_time
from flows.runners import say, successes, track
from flows.stages.audit_words import dataset_sentence
from warehouse.artifacts import artifact_of
from warehouse.data_path import kept_above
from warehouse.dataset_audit import dataset_audit
from warehouse.dataset_queries import dataset_named
from warehouse.lake import LakeError
from warehouse.lineage import by_person, plan_run
from warehouse.object_store import is_remote, open_store, reaching
from warehouse.records import Artifact
from warehouse.store import content_id, file_sha256

__all__ = ["publish_dataset"]

_FIRST = "dataset.json"
"""put before all others, so that an interrupted publication is known again; SHA256SUMS comes last and says that all are there"""


def publish_dataset(job: Job, name: str, uri: str) -> None:
    """Put a dataset's files below `uri`, each whole, and record by whom. Interrupted, the same call sends the rest.

    Raises:
        LakeError: there is no such dataset, it lacks files or holds frames that were removed later, or the place holds something else.
        OSError: the store cannot be reached.
    """
    uri = uri.rstrip("/")
    if not is_remote(uri):
        raise LakeError(f"{uri!r} is on this machine or in memory; give a place in an object store, as s3://bucket/first")
    # `forget` is refused meanwhile: it could not name what goes out after it has looked
    with one_at_a_time(job.lake.root / "staging" / f"publish-{content_id(uri)[:16]}.lock", busy=f"another process sends files to {uri}"):
        _send(job, name, uri)


def _send(job: Job, name: str, uri: str) -> None:
    lake = job.lake
    dataset = dataset_named(lake, name)
    verdict = dataset_audit(lake, dataset.dataset_id)
    if verdict.num_removed:
        raise LakeError(f"dataset {name!r} holds {verdict.num_removed} frames that were removed later; curate another and publish that")
    folder = lake.root / dataset.path
    hashes = {**read_sums(folder), _FIRST: ""}
    missing = [file for file in (*hashes, *(shard.name for shard in dataset.shards)) if file not in hashes or not (folder / file).is_file()]
    if missing:
        raise LakeError(f"dataset {name!r} lacks {len(missing)} of its files, such as {missing[0]}; `endoforge verify` tells more")
    hashes[_FIRST] = file_sha256(folder / _FIRST)
    _refuse_other(uri, folder / _FIRST)
    now = datetime.datetime.now(datetime.UTC).isoformat()
    told = {"dataset": name, "format": "shards", "path": uri, "at": now}
    inputs = [artifact_of(dataset)]
    with job.record(by_person(plan_run(stage="publish_begin", version=1, config=told, inputs=inputs))):
        pass  # `forget` names the place from now on, however this ends
    with job.record(by_person(plan_run(stage="export", version=1, config=told, inputs=inputs))) as run:
        sent = send_file(FileSending(path=str(folder / _FIRST), uri=f"{uri}/{_FIRST}", sha256=hashes.pop(_FIRST)))
        sendings = [FileSending(path=str(folder / file), uri=f"{uri}/{file}", sha256=sha256) for file, sha256 in hashes.items()]
        results = successes(job.runner.map(send_file, sendings), stage="publish")
        sent += sum(track(results, description="send files", total=len(sendings)))
        digest = file_sha256(folder / SUMS)
        sent += send_file(FileSending(path=str(folder / SUMS), uri=f"{uri}/{SUMS}", sha256=digest))
        run.output(Artifact(artifact_id=digest, kind="dataset_export", uri=uri, sha256=digest, num_rows=dataset.num_images))
        run.metrics.update(num_images=dataset.num_images, num_bytes=sent)
    say(f"publish: {len(dataset.shards)} shards of dataset {name!r} are in {uri}; {sent / 1e6:.1f} MB sent now")
    say(f"publish: `endoforge pretrain --dataset {name} --data.shards {uri}` reads them there")
    say(f"publish: {dataset_sentence(verdict, lake.root)}")


def _refuse_other(uri: str, described: Path) -> None:
    """See that the place is empty, or that this dataset's publication was begun there, and that no lake or backup deletes from it."""
    if root_of := kept_above(uri):
        raise LakeError(f"{uri} lies below {root_of}, which is a lake's or a backup's own and is cleared of all else; give another")
    store, path = open_store(uri)
    with reaching(uri):
        store.invalidate_cache()
        try:
            if store.cat_file(f"{path}/{_FIRST}") == described.read_bytes():
                return
            found = _FIRST
        except FileNotFoundError:
            found = next(iter(store.find(path)), "") if store.exists(path) else ""
    if found:
        raise LakeError(f"{uri} holds something else, such as {found}; give a place of its own")
