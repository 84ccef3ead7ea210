"""An S3 server on loopback, as moto speaks it."""

from __future__ import annotations

import contextlib
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from moto.server import ThreadedMotoServer

__all__ = ["ACCOUNT", "empty_bucket", "s3_server"]

ACCOUNT = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    moto.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        moto.stop()


@contextlib.contextmanager
def empty_bucket(server: str, name: str) -> Iterator[Any]:
    """A file system of fsspec for the server, which has this bucket alone; the environment names it, with an account, meanwhile."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for variable, value in {**ACCOUNT, "AWS_ENDPOINT_URL": server}.items():
            monkeypatch.setenv(variable, value)
        urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()
        filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
        filesystem.mkdir(name)
        fsspec.filesystem("s3").clear_instance_cache()
        yield filesystem
        fsspec.filesystem("s3").clear_instance_cache()
