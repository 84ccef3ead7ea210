"""The commands that keep a lake in order, as dataclasses, and what each does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from flows.cli.execution import Alone, Asking, Execution, Flat, FlatAlone, FlatAsking, OfLake
from flows.cli.job import job_of
from flows.upkeep_config import AlertConfig, UpkeepConfig
from warehouse.local_path import local_path
from warehouse.object_store import WEB, check_uri, is_remote, is_uri
from warehouse.table_store import data_below

__all__ = ["UPKEEP", "Alerts", "Backup", "Deploy", "Forget", "InitLake", "Maintain", "Restore", "Snapshots"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InitLake(OfLake):
    """Make an empty lake with its catalog in a Postgres database, for writers on several machines, or its tables in an S3 store."""

    catalog: str | None = None
    """database of its own for the lake, as ducklake:postgres:dbname=lake host=db user=endoforge, without a password; the folder then has
    one path on all machines; a SQLite file in the folder unless given"""
    data_path: str | None = None
    """empty place in an S3 store for the Parquet files of the tables, as s3://bucket/lake; the folder unless given"""
    take_over: bool = False
    """the lake is there with its tables in that place, and was moved by copying its folder: let it delete from them, no other lake"""
    execution: FlatAlone = field(default_factory=Alone)

    def __post_init__(self) -> None:
        if self.take_over and self.data_path is None:
            raise ValueError("take_over is given without a data_path; give the place of the lake's tables")
        if self.catalog is None and self.data_path is None:
            raise ValueError("neither a catalog nor a data_path is given; give one, or ingest into a new folder, which makes a lake of it")
        if self.data_path is not None:
            data_below(self.data_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintain(OfLake):
    """Make a lake small and quick: expire old snapshots, merge small files, delete what nothing reads any more."""

    config: Annotated[UpkeepConfig, arg(name="")] = field(default_factory=UpkeepConfig)
    dry_run: bool = False
    """change nothing and say what would be done"""
    execution: FlatAlone = field(default_factory=Alone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts(OfLake):
    """Compare rejects, new videos, disk, drift and audits with thresholds; exit code 1 if one is passed."""

    config: Annotated[AlertConfig, arg(name="")] = field(default_factory=AlertConfig)
    format: Literal["lines", "json"] = "lines"
    """form of the answer: a line a check on stderr, or a JSON array on stdout as well"""
    execution: FlatAlone = field(default_factory=Alone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """Write the schedules of a file to the Prefect server that PREFECT_API_URL names: pool, deployments, limits, watch over silent runs."""

    file: Annotated[Positional[Path], arg(metavar="[FILE]")] = Path("prefect.yaml")
    """deployments, as Prefect has them; runs start in its folder"""
    heartbeat_s: float = 30.0
    """how often runs say that they live; one that misses three is Crashed"""
    pool_limit: int | None = None
    """most runs of the work pool at once; any number unless given"""
    dry_run: bool = False
    """check the file and write nothing"""
    execution: FlatAsking = field(default_factory=Asking)

    def __post_init__(self) -> None:
        if self.heartbeat_s < 30:
            raise ValueError(f"heartbeat_s is {self.heartbeat_s:g}, and Prefect takes 30 at least; give that or more")
        if self.pool_limit is not None and self.pool_limit < 1:
            raise ValueError(f"pool_limit is {self.pool_limit}; give 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup(OfLake):
    """Copy a lake elsewhere; typed again, only what is new, and what the lake has lost goes from the copy too."""

    to: Annotated[Positional[str], arg(metavar="FOLDER")]
    """folder of the copy: missing, empty, or the lake's earlier backup; or such a place in an object store, as s3://bucket/lake"""
    execution: FlatAlone = field(default_factory=Alone)

    def __post_init__(self) -> None:
        _check_place(self.to, what="the place of a backup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(OfLake):
    """Make a lake of a backup, in a new folder, and read all its tables once."""

    backup: Annotated[Positional[str], arg(metavar="BACKUP")]
    """folder, or URI in an object store, that `endoforge backup` wrote"""
    catalog: str | None = None
    """empty database that becomes the lake's catalog, as of `endoforge init-lake`; a SQLite file in its folder unless given"""
    data_path: str | None = None
    """empty place in an S3 store for the Parquet files of the tables, as of `endoforge init-lake`; the folder unless given"""
    execution: FlatAlone = field(default_factory=Alone)

    def __post_init__(self) -> None:
        _check_place(self.backup, what="a backup")
        if self.data_path is not None:
            data_below(self.data_path)


def _check_place(place: str, *, what: str) -> None:
    """Refuse a URI of no object store that can be reached from here, and what is neither a URI nor a folder."""
    if is_uri(place) and not place.lower().startswith(("file:", *WEB)):
        check_uri(place)
        if not is_remote(place):
            raise ValueError(f"{place!r} would keep {what} on this machine or in memory; give a folder, or a URI such as s3://bucket/lake")
    else:
        local_path(place, what=what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(OfLake):
    """Remove everything of a patient or of videos from a lake, and keep them out; first with --dry-run, which counts and names it."""

    patient: tuple[str, ...] = ()
    """patients, as manifests name them (with the key of pseudonyms set) or by pseudonym"""
    video: tuple[str, ...] = ()
    """videos, by id, by a unique start of it, by URI or by path"""
    requested_by: str = ""
    """who asked for it, for the record; name the request, not the patient"""
    dry_run: bool = False
    """remove nothing and say what there is"""
    resume: bool = False
    """go on with what was interrupted"""
    execution: Flat = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if not self.patient and not self.video and not self.resume:
            raise ValueError("nothing is named; give --patient or --video, or --resume to go on with what was interrupted")
        if not self.dry_run and not self.resume and not self.requested_by.strip():
            raise ValueError("requested_by is empty; say who asked for it, such as the number of the request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots(OfLake):
    """List the states that a lake can still be read in, or give one a name that keeps it."""

    tag: str | None = None
    """name for a snapshot, which `endoforge maintain` then keeps"""
    version: int | None = None
    """snapshot to name; the latest unless given"""
    untag: str | None = None
    """name to take away"""
    execution: FlatAsking = field(default_factory=Asking)

    def __post_init__(self) -> None:
        if self.version is not None and self.tag is None:
            raise ValueError(f"version {self.version} is given without a tag; give the name that it is to have as --tag")


def _init_lake(command: InitLake) -> None:
    from warehouse.new_lake import make_lake

    print(make_lake(command.lake, command.catalog, data=command.data_path, is_taken_over=command.take_over))


def _maintain(command: Maintain) -> None:
    from flows.stages import run_maintain
    from warehouse.lake import open_lake

    with open_lake(command.lake) as lake:
        run_maintain(lake, command.config, dry_run=command.dry_run)


def _alerts(command: Alerts) -> int:
    import json
    from dataclasses import asdict

    from flows.cli.job import asked
    from flows.stages import run_alerts

    with asked(command) as lake:
        checks = run_alerts(lake, command.config)
    if command.format == "json":
        print(json.dumps([asdict(check) for check in checks], indent=1))
    return 1 if any(check.state == "alert" for check in checks) else 0


def _deploy(command: Deploy) -> None:
    from flows.deploy import deploy, read_plans

    if command.dry_run:
        for plan in read_plans(command.file):
            print(f"deployment {plan.flow.name}/{plan.name} can be written")
        return
    for written in deploy(command.file, heartbeat_s=command.heartbeat_s, pool_limit=command.pool_limit):
        print(written)


def _backup(command: Backup) -> None:
    from flows.stages import run_backup

    run_backup(command.lake, command.to)
    print(command.to)


def _restore(command: Restore) -> None:
    from flows.stages import run_restore
    from warehouse.catalog import parse_catalog

    run_restore(
        command.backup,
        command.lake,
        database=parse_catalog(command.catalog) if command.catalog else None,
        data_path=data_below(command.data_path) if command.data_path else None,
    )
    print(command.lake)


def _forget(command: Forget) -> int:
    from flows.stages import find_subject, run_forget, say_traces
    from warehouse.traces import find_traces

    with job_of(command, read_only=command.dry_run) as job:
        subject = None if command.resume else find_subject(job, videos=command.video, patients=command.patient)
        if command.dry_run and subject is not None:
            say_traces(find_traces(job.lake, subject))
            return 0
        return 1 if run_forget(job, subject, requested_by=command.requested_by.strip()).left else 0


def _snapshots(command: Snapshots) -> None:
    from warehouse.lake import open_lake
    from warehouse.snapshots import list_snapshots, remove_tag, tag_snapshot

    with open_lake(command.lake, read_only=command.tag is None and command.untag is None) as lake:
        if command.untag is not None:
            remove_tag(lake, command.untag)
        if command.tag is not None:
            print(f"{command.tag} names snapshot {tag_snapshot(lake, command.tag, command.version)}")
        if command.tag is None and command.untag is None:
            for snapshot in list_snapshots(lake):
                tags = f" [{', '.join(snapshot.tags)}]" if snapshot.tags else ""
                sys.stdout.write(
                    f"{snapshot.version:>6}  {snapshot.made_at:%Y-%m-%d %H:%M:%S}{tags}  {snapshot.message}  {snapshot.changes}\n"
                )


UPKEEP: dict[str, tuple[type, Callable[[Any], int | None]]] = {
    "init-lake": (InitLake, _init_lake),
    "snapshots": (Snapshots, _snapshots),
    "maintain": (Maintain, _maintain),
    "alerts": (Alerts, _alerts),
    "deploy": (Deploy, _deploy),
    "backup": (Backup, _backup),
    "restore": (Restore, _restore),
    "forget": (Forget, _forget),
}
