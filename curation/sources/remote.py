"""Videos in object stores and other file systems that fsspec reaches by URI: listing and fetching.

Nothing is contacted unless a URI is given. Credentials and endpoints come from the environment, as each store's own client reads them.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from warehouse.object_store import WEB, check_uri, is_uri, open_store, reaching, read_chunks, refuse_secrets
from warehouse.records import VideoRef

__all__ = ["check_uri", "exists", "fetch", "is_uri", "list_store", "look_up", "read_chunks"]

_VERSION_NAMES = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified", "modified", "created")


def list_store(uri: str) -> list[VideoRef]:
    """The object at a URI, the objects below it, or those that it matches as a glob; not read yet, with their sizes and versions.

    Raises:
        FileNotFoundError: there are none.
        OSError: the store does not answer, or refuses.
        ValueError: no file system is known or installed for the URI, or it holds a password, a user name or a query.
    """
    refuse_secrets(uri)
    store, path = open_store(uri)
    with reaching(uri):
        store.invalidate_cache()
        try:
            entries = _entries(store, path)
        except FileNotFoundError:
            entries = {}
        except PermissionError as error:
            raise PermissionError(f"{uri!r} may not be listed ({error})") from error
    # links and the like too: some stores read through them, and what cannot be read is left and counted
    found = [_reference(store, entry) for entry in entries.values() if entry["type"] != "directory" and not entry["name"].endswith("/")]
    if not found:
        raise FileNotFoundError(f"{uri!r} is no object, folder or glob that matches anything; check the URI")
    for video in found:
        if video.path.startswith(WEB):  # a page may link to what is signed; in a bucket an object's name may hold anything
            refuse_secrets(video.path)
    return found


def _entries(store: Any, path: str) -> dict[str, dict[str, Any]]:
    if re.search(r"[*?\[]", path) and not store.exists(path):
        entries: dict[str, dict[str, Any]] = store.glob(path, detail=True)
        for folder in [name for name, entry in entries.items() if entry["type"] == "directory"]:
            entries.update(store.find(folder, detail=True))
        return entries
    entry = store.info(path)
    return dict(store.find(path, detail=True)) if entry["type"] == "directory" else {path: entry}


def look_up(uris: Iterable[str]) -> dict[str, VideoRef]:
    """Those of the URIs that are objects; one request a folder, since a manifest may name many in each.

    Raises:
        OSError: the store does not answer, or refuses.
        ValueError: no file system is known or installed for a URI, or it holds a password, a user name or a query.
    """
    folders: dict[str, set[str]] = defaultdict(set)
    for uri in uris:
        refuse_secrets(uri)
        folders[uri.rpartition("/")[0]].add(uri)
    found: dict[str, VideoRef] = {}
    for folder, wanted in folders.items():
        store, path = open_store(folder)
        with contextlib.suppress(FileNotFoundError), reaching(folder):
            store.invalidate_cache()
            objects = (_reference(store, entry) for entry in store.ls(path, detail=True) if entry["type"] != "directory")
            found.update((video.path, video) for video in objects if video.path in wanted)
    return found


def exists(uri: str) -> bool:
    """Whether there is something at a URI; also True where the store does not answer."""
    try:
        store, path = open_store(uri)
        with reaching(uri):
            return bool(store.exists(path))
    except (OSError, ValueError):
        return True


def fetch(uri: str, target: Path) -> None:
    """Copy an object to a local file.

    Raises:
        OSError: it cannot be read, or the file cannot be written.
    """
    store, path = open_store(uri)
    with reaching(uri):
        store.get_file(path, str(target))


def _reference(store: Any, entry: dict[str, Any]) -> VideoRef:
    version = next((str(entry[name]) for name in _VERSION_NAMES if entry.get(name)), None)
    size = int(entry["size"] or 0)
    return VideoRef(
        video_id="", path=store.unstrip_protocol(entry["name"]), num_bytes=size, version=version and f"{size}-{version.strip(chr(34))}"
    )
