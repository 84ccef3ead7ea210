"""Whether a shard is still what it was written as, and where it is not."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from curation.shards.members import KINDS, MemberKind
from curation.shards.write import sidecar_name
from warehouse.store import canonical_json, file_sha256

__all__ = ["ShardCheck", "verify_shard"]

_MOST = 20  # members named of one shard; the rest is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCheck:
    """One tar to be checked against what the lake says of it."""

    shard: str
    folder: str
    """of the dataset"""
    num_bytes: int
    sha256: str
    sidecar_sha256: str | None
    """as SHA256SUMS says; None if that file is damaged"""
    expected: str
    """folder of Parquet files with the lake's rows of its frames: position, frame_id, video_id, byte_offset, byte_size, pts_us, sha256;
    of clips clip_id and start_us in their place"""
    kind: str = "images"
    """what it holds, a name of `curation.shards.members.KINDS`"""


def verify_shard(check: ShardCheck) -> tuple[str, ...]:
    """Everything that is wrong with a shard, in sentences; nothing where it is whole."""
    path = Path(check.folder, check.shard)
    if not path.is_file():
        return (f"{check.shard}: the file is missing",)
    kind = KINDS[check.kind]
    wanted = pq.read_table(check.expected).sort_by("position")
    problems = []
    num_bytes, sha256 = path.stat().st_size, file_sha256(path)
    if num_bytes != check.num_bytes:
        problems.append(f"{check.shard}: has {num_bytes} bytes, the lake says {check.num_bytes}")
    if sha256 != check.sha256:
        problems.append(f"{check.shard}: its SHA-256 is {sha256}, the lake says {check.sha256}")
    sidecar_problems = _sidecar_problems(check, wanted)
    problems += sidecar_problems
    if sha256 == check.sha256:  # the members are those that were written: then only the rows' places are left to check
        return (*problems, *_member_problems(path, wanted, kind, hashes=False, texts=None))
    texts = None if sidecar_problems else _texts(Path(check.folder, sidecar_name(check.shard)), kind)
    in_members = _member_problems(path, wanted, kind, hashes=True, texts=texts)
    if not in_members and texts is not None:
        in_members = [f"{check.shard}: no member differs, so a header was changed, what fills up a block, or what follows the last member"]
    return (*problems, *in_members)


def _texts(sidecar: Path, kind: MemberKind) -> dict[str, bytes]:
    """What each member's JSON must say, but for what the making of smaller images adds to it."""
    return {row[kind.id_column]: kind.text(row) for row in pq.read_table(sidecar).to_pylist()}


def _sidecar_problems(check: ShardCheck, wanted: pa.Table) -> list[str]:
    name = sidecar_name(check.shard)
    path = Path(check.folder, name)
    if not path.is_file():
        return [f"{name}: the file is missing"]
    problems = []
    if check.sidecar_sha256 and (found := file_sha256(path)) != check.sidecar_sha256:
        problems.append(f"{name}: its SHA-256 is {found}, SHA256SUMS says {check.sidecar_sha256}")
    try:
        rows = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        return [*problems, f"{name}: cannot be read ({error})"]
    kind = KINDS[check.kind]
    for column in ("position", kind.id_column, "video_id", kind.time_column, "byte_offset", "byte_size"):
        if column not in rows.column_names or rows[column].to_pylist() != wanted[column].to_pylist():
            problems.append(f"{name}: its column {column} is not what the lake says")
    return problems


def _member_problems(path: Path, wanted: pa.Table, kind: MemberKind, *, hashes: bool, texts: dict[str, bytes] | None) -> list[str]:
    found: dict[str, tuple[int, int, str]] = {}
    changed_texts: set[str] = set()
    problems = []
    try:
        with tarfile.open(path, "r:", ignore_zeros=False) as tar, path.open("rb") as file:
            for member in tar:
                if member.name in found:
                    problems.append(f"member {member.name} is there twice")
                found[member.name] = (member.offset_data, member.size, _sha256(file, member) if hashes else "")
                if texts is not None and member.name.endswith(".json"):
                    file.seek(member.offset_data)
                    if not _says(file.read(member.size), texts.get(member.name.removesuffix(".json"), b""), kind.added):
                        changed_texts.add(member.name)
    except tarfile.TarError as error:
        problems.append(f"is no whole tar ({error})")
    names = set()
    for row in wanted.select([kind.id_column, "byte_offset", "byte_size", "sha256"]).to_pylist():
        image, text = f"{row[kind.id_column]}.{kind.suffix}", f"{row[kind.id_column]}.json"
        names |= {image, text}
        problems += [f"member {name} is missing" for name in (image, text) if name not in found]
        if text in changed_texts:
            problems.append(f"member {text} is not what the sidecar says of the {kind.item}: its bytes were changed")
        if image not in found:
            continue
        offset, size, sha256 = found[image]
        if (offset, size) != (row["byte_offset"], row["byte_size"]):
            problems.append(f"member {image} has {size} bytes at byte {offset}, the lake says {row['byte_size']} at {row['byte_offset']}")
        elif hashes and row["sha256"] and sha256 != row["sha256"]:
            problems.append(f"member {image} is not the {kind.item} that the lake knows: its bytes were changed")
    problems += [f"member {name} does not belong there" for name in sorted(found.keys() - names)]
    said = [f"{path.name}: {problem}" for problem in problems[:_MOST]]
    return [*said, f"{path.name}: and {len(problems) - _MOST} more"] if len(problems) > _MOST else said


def _sha256(file: IO[bytes], member: tarfile.TarInfo) -> str:
    file.seek(member.offset_data)
    return hashlib.sha256(file.read(member.size)).hexdigest()


def _says(text: bytes, wanted: bytes, added: tuple[str, ...]) -> bool:
    if text == wanted:
        return True
    try:
        said = json.loads(text)
    except ValueError:
        return False
    if not isinstance(said, dict) or canonical_json(said).encode() != text:
        return False
    known = {key: value for key, value in said.items() if key not in added}
    return canonical_json(known).encode() == wanted
