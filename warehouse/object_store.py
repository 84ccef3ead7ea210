"""Object stores and other file systems that fsspec reaches by URI.

Nothing is contacted unless a URI is given. Credentials and endpoints come from the environment, as each store's own client reads them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

__all__ = ["WEB", "check_uri", "is_remote", "is_uri", "open_store", "reaching", "read_chunks", "read_range", "refuse_secrets"]

_CHUNK_BYTES = 8 << 20
_CONTAINER_BEFORE_AT = ("abfs", "abfss", "wasb", "wasbs")
"""kinds of URI in which what stands before the host is no user: abfs://container@account.dfs.core.windows.net/path"""
WEB = ("http://", "https://")
_EXTRAS = {"s3": "run `pip install s3fs`", "s3a": "run `pip install s3fs`"}


def is_uri(name: str) -> bool:
    """Whether a name is a URI rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


def check_uri(uri: str) -> None:
    """Refuse a URI that nothing here can read, without contacting the store.

    Raises:
        ValueError: no file system is known or installed for the URI, or it holds a password, a user name or a query.
    """
    refuse_secrets(uri)
    open_store(uri)


def read_chunks(uri: str) -> Iterator[bytes]:
    """The content of an object in pieces, which are not kept.

    Raises:
        OSError: it cannot be read.
    """
    store, path = open_store(uri)
    with reaching(uri), store.open(path, "rb", cache_type="none") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def read_range(uri: str, start: int, num_bytes: int) -> bytes:
    """Part of an object's content, fewer bytes if it ends before.

    Args:
        uri: of the object.
        start: first byte.
        num_bytes: of the part.

    Raises:
        OSError: it cannot be read.
    """
    store, path = open_store(uri)
    with reaching(uri):
        return bytes(store.cat_file(path, start=start, end=start + num_bytes))


def open_store(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI, and the path there.

    Raises:
        ValueError: none is known or installed for it.
    """
    import fsspec  # not for those who have plain files

    try:
        store, path = fsspec.url_to_fs(uri)
    except ImportError as error:
        scheme = urlsplit(uri).scheme.lower()
        raise ValueError(f"{scheme}:// needs a package that is not installed ({error}); {_EXTRAS.get(scheme, 'install it')}") from error
    except ValueError as error:
        raise ValueError(f"{uri!r} is of no kind of file system that fsspec knows ({error}); check how it begins") from error
    return store, path


def is_remote(uri: str) -> bool:
    """Whether a URI leads to another machine, and not to this one's disks or memory."""
    store, _ = open_store(uri)
    kinds = {store.protocol} if isinstance(store.protocol, str) else set(store.protocol)
    return kinds.isdisjoint(("file", "local", "memory"))


def refuse_secrets(uri: str) -> None:
    """The lake keeps every URI as it was given, so one that opens something by itself, or names a person, must not come in.

    Raises:
        ValueError: the URI, or one of a chain, holds a password, a user name or a query.
    """
    for link in uri.split("::"):  # fsspec chains several by it
        parts = urlsplit(link)
        scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2]
        if parts.password or (parts.username and scheme not in _CONTAINER_BEFORE_AT):
            held = "a password" if parts.password else "a user name"
        elif "=" in parts.query or (parts.query and link.lower().startswith(WEB)):  # elsewhere a question mark is a glob's
            held = "a query, which may be a signature"
        else:
            continue
        raise ValueError(f"a URI of {host!r} holds {held}; the lake would keep it: leave it out and give credentials by the environment")


@contextlib.contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Each store's client has exceptions of its own; they become OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(
            f"{uri!r} cannot be reached ({type(error).__name__}: {error}); check the network, the endpoint and the credentials"
        ) from error
