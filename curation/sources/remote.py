"""Object stores and other file systems that fsspec reaches by URI: listing, reading and fetching.

Nothing is contacted unless a URI is given. Credentials and endpoints come from the environment, as each store's own client reads them.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from warehouse.records import VideoRef

__all__ = ["check_uri", "exists", "fetch", "is_uri", "list_store", "look_up", "read_chunks"]

_CHUNK_BYTES = 8 << 20
_VERSION_NAMES = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified", "modified", "created")
_CONTAINER_BEFORE_AT = ("abfs", "abfss", "wasb", "wasbs")
"""kinds of URI in which what stands before the host is no user: abfs://container@account.dfs.core.windows.net/path"""
_WEB = ("http://", "https://")
_EXTRAS = {"s3": "pip install 'endoforge[s3]'", "s3a": "pip install 'endoforge[s3]'"}


def is_uri(name: str) -> bool:
    """Whether a name is a URI rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


def check_uri(uri: str) -> None:
    """Refuse a URI that nothing here can read, without contacting the store.

    Raises:
        ValueError: no file system is known or installed for the URI, or it holds a password, a user name or a query.
    """
    _refuse_secrets(uri)
    _open_store(uri)


def list_store(uri: str) -> list[VideoRef]:
    """The object at a URI, the objects below it, or those that it matches as a glob; not read yet, with their sizes and versions.

    Raises:
        FileNotFoundError: there are none.
        OSError: the store does not answer, or refuses.
        ValueError: no file system is known or installed for the URI, or it holds a password, a user name or a query.
    """
    _refuse_secrets(uri)
    store, path = _open_store(uri)
    with _reaching(uri):
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
        if video.path.startswith(_WEB):  # a page may link to what is signed; in a bucket an object's name may hold anything
            _refuse_secrets(video.path)
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
        _refuse_secrets(uri)
        folders[uri.rpartition("/")[0]].add(uri)
    found: dict[str, VideoRef] = {}
    for folder, wanted in folders.items():
        store, path = _open_store(folder)
        with contextlib.suppress(FileNotFoundError), _reaching(folder):
            store.invalidate_cache()
            objects = (_reference(store, entry) for entry in store.ls(path, detail=True) if entry["type"] != "directory")
            found.update((video.path, video) for video in objects if video.path in wanted)
    return found


def exists(uri: str) -> bool:
    """Whether there is something at a URI; also True where the store does not answer."""
    try:
        store, path = _open_store(uri)
        with _reaching(uri):
            return bool(store.exists(path))
    except (OSError, ValueError):
        return True


def read_chunks(uri: str) -> Iterator[bytes]:
    """The content of an object in pieces, which are not kept.

    Raises:
        OSError: it cannot be read.
    """
    store, path = _open_store(uri)
    with _reaching(uri), store.open(path, "rb", cache_type="none") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def fetch(uri: str, target: Path) -> None:
    """Copy an object to a local file.

    Raises:
        OSError: it cannot be read, or the file cannot be written.
    """
    store, path = _open_store(uri)
    with _reaching(uri):
        store.get_file(path, str(target))


def _open_store(uri: str) -> tuple[Any, str]:
    import fsspec  # not for those who have plain files

    try:
        store, path = fsspec.url_to_fs(uri)
    except ImportError as error:
        scheme = urlsplit(uri).scheme.lower()
        raise ValueError(f"{scheme}:// needs a package that is not installed ({error}); {_EXTRAS.get(scheme, 'install it')}") from error
    except ValueError as error:
        raise ValueError(f"{uri!r} is of no kind of file system that fsspec knows ({error}); check how it begins") from error
    return store, path


def _refuse_secrets(uri: str) -> None:
    """The lake keeps every URI as it was given, so one that opens something by itself, or names a person, must not come in."""
    for link in uri.split("::"):  # fsspec chains several by it
        parts = urlsplit(link)
        scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2]
        if parts.password or (parts.username and scheme not in _CONTAINER_BEFORE_AT):
            held = "a password" if parts.password else "a user name"
        elif "=" in parts.query or (parts.query and link.lower().startswith(_WEB)):  # elsewhere a question mark is a glob's
            held = "a query, which may be a signature"
        else:
            continue
        raise ValueError(f"a URI of {host!r} holds {held}; the lake would keep it: leave it out and give credentials by the environment")


def _reference(store: Any, entry: dict[str, Any]) -> VideoRef:
    version = next((str(entry[name]) for name in _VERSION_NAMES if entry.get(name)), None)
    size = int(entry["size"] or 0)
    return VideoRef(
        video_id="", path=store.unstrip_protocol(entry["name"]), num_bytes=size, version=version and f"{size}-{version.strip(chr(34))}"
    )


@contextlib.contextmanager
def _reaching(uri: str) -> Iterator[None]:
    """Each store's client has exceptions of its own; they become OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(
            f"{uri!r} cannot be reached ({type(error).__name__}: {error}); check the network, the endpoint and the credentials"
        ) from error
