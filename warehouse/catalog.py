"""Which catalog a lake has: the SQLite file in its folder, or the Postgres database that its `catalog.toml` names.

Everything else of a lake is in its folder either way. Passwords are never in that file: the Postgres client finds them by its own means.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from warehouse.store import atomic_file

__all__ = [
    "CATALOG_FILE",
    "SQLITE_FILE",
    "Catalog",
    "LakeError",
    "catalog_of",
    "has_lake",
    "no_lake",
    "parse_catalog",
    "write_catalog_file",
]

SQLITE_FILE = "catalog.sqlite"
CATALOG_FILE = "catalog.toml"

_PREFIX = "ducklake:"
_URIS = ("postgresql://", "postgres://")
_PAIR = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)+)(?=\s|$)")
_SECRET = {"password", "sslpassword", "passfile"}
_HEAD = """\
# The catalog of this lake. Everything else of it is in this folder.
# Keep no password here: Postgres clients read PGPASSFILE, ~/.pgpass and PGPASSWORD.
"""


class LakeError(ValueError):
    """A lake that cannot be opened or written as asked; the message names the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Where the catalog of a lake is."""

    kind: Literal["sqlite", "postgres"]
    where: str
    """path of the SQLite file, or connection string of the database as libpq takes it"""

    @property
    def target(self) -> str:
        """What DuckLake attaches, without `ducklake:`."""
        return f"{self.kind}:{self.where}"

    @property
    def text(self) -> str:
        """As it stands in `catalog.toml` and behind --lake."""
        return _PREFIX + self.target

    @property
    def extension(self) -> str:
        """DuckDB's extension for it."""
        return f"{self.kind}_scanner"


def has_lake(root: Path) -> bool:
    """Whether a lake's catalog, or what names it, is in the folder `root`."""
    return (root / SQLITE_FILE).is_file() or (root / CATALOG_FILE).is_file()


def no_lake(root: Path) -> LakeError:
    """The error for a folder that should hold a lake and does not."""
    inner = root / "lake"
    hint = f"did you mean {inner}?" if has_lake(inner) else "give a folder that `endoforge ingest` or `endoforge evaluate` made"
    return LakeError(f"there is no lake in {root} (no {SQLITE_FILE}); {hint}")


def catalog_of(root: Path) -> Catalog:
    """The catalog of the lake in the folder `root`, which need not be there yet: the SQLite file unless `catalog.toml` names another.

    Raises:
        LakeError: `catalog.toml` cannot be read, or the folder has both.
    """
    path = root / CATALOG_FILE
    if not path.is_file():
        return Catalog(kind="sqlite", where=str(root / SQLITE_FILE))
    if (root / SQLITE_FILE).exists():
        raise LakeError(f"{root} has two catalogs, {SQLITE_FILE} and the one {CATALOG_FILE} names; move the one that is not used away")
    try:
        text = tomllib.loads(path.read_text(encoding="utf-8"))["catalog"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise LakeError(f'{path} names no catalog ({error}); expected a line such as catalog = "ducklake:postgres:dbname=lake"') from None
    return parse_catalog(str(text))


def write_catalog_file(root: Path, catalog: Catalog) -> None:
    """Name the catalog of the lake in `root`."""
    with atomic_file(root / CATALOG_FILE) as file:
        file.write(f"{_HEAD}catalog = {json.dumps(catalog.text, ensure_ascii=False)}\n".encode())


def parse_catalog(text: str) -> Catalog:
    """A Postgres catalog as a person writes it: `ducklake:postgres:dbname=lake host=db`, or with a `postgresql://` URI after `postgres:`.

    Raises:
        LakeError: it is another kind of catalog, no connection string, or has a password in it; the message does not repeat it.
    """
    kind, _, where = text.removeprefix(_PREFIX).partition(":")
    if not text.startswith(_PREFIX) or kind != "postgres":
        raise LakeError(
            f"a catalog of kind {kind.partition('=')[0][:20]!r} is not supported; give ducklake:postgres:dbname=... host=..., "
            "or a folder, whose catalog is a SQLite file"
        )
    settings = _settings(where)
    if settings.keys() & _SECRET:
        raise LakeError(
            "there is a password in the name of the catalog, where logs and lists of processes show it; "
            "take it out and put it into ~/.pgpass (mode 0600), a file that PGPASSFILE names, or PGPASSWORD"
        )
    return Catalog(kind="postgres", where=where)


def _settings(where: str) -> dict[str, str]:
    """The settings of a connection string by name."""
    if where.startswith(_URIS):
        uri = urlsplit(where)
        return dict(parse_qsl(uri.query)) | ({"password": ""} if uri.password is not None else {})
    settings: dict[str, str] = {}
    position = 0
    while where[position:].strip():
        pair = _PAIR.match(where, position)
        if pair is None:
            raise LakeError(
                "what follows ducklake:postgres: is no connection string; give settings such as dbname=lake host=db user=endoforge"
            )
        settings[pair[1].lower()] = pair[2]
        position = pair.end()
    return settings
