"""What DuckDB needs to read and write tables in an S3 store: the httpfs extension, and the endpoint and account of the environment.

botocore finds these as for everything else here that goes to S3: variables, profiles, roles of machines and containers. They are given to
DuckDB as a secret in memory, which is valid for the lake's own prefix and is nowhere kept or printed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import urlsplit

import duckdb

from warehouse.catalog import LakeError
from warehouse.extensions import extension_path
from warehouse.statements import quote

__all__ = ["Renewal", "give_keys", "keep_to", "narrowed"]

_INSTALL = "pip install 'endoforge[s3]'"


class Renewal(Protocol):
    """Gives a connection the keys that are valid now."""

    def __call__(self, *, was_rolled_back: bool = False) -> None:
        """To be called before each statement, and after a rollback, which takes away keys that were given inside its transaction."""


def give_keys(connection: duckdb.DuckDBPyConnection, data_path: str) -> Renewal:
    """Let a connection reach the tables below `data_path`, which begins with `s3://`.

    Returns:
        What is to be called before each statement: keys of a role end after an hour, and botocore has new ones before that.

    Raises:
        LakeError: httpfs or botocore is not installed, or no keys are found.
    """
    try:
        import botocore.exceptions
        import botocore.session
    except ModuleNotFoundError:
        raise LakeError(f"the tables lie in {data_path}, and S3 needs packages that are not installed; {_INSTALL}") from None
    connection.execute(f"LOAD {quote(str(extension_path('httpfs')))}")
    session = botocore.session.get_session()
    try:
        credentials = session.get_credentials()
        client = session.create_client("s3", region_name=session.get_config_variable("region") or "us-east-1")
    except botocore.exceptions.BotoCoreError as error:
        raise LakeError(f"the account for {data_path} cannot be found: {error}; correct AWS_PROFILE and its like") from None
    if isinstance(authority := session.get_config_variable("ca_bundle"), str):
        connection.execute(f"SET ca_cert_file = {quote(authority)}")
    connection.execute("SET enable_server_cert_verification = true")
    endpoint = urlsplit(client.meta.endpoint_url)
    style = ((client.meta.config.s3 or {}).get("addressing_style")) or "auto"
    is_path = style == "path" or (style == "auto" and not (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")))
    fixed = {
        "REGION": client.meta.region_name,
        "ENDPOINT": endpoint.netloc,
        "URL_STYLE": "path" if is_path else "vhost",
        "SCOPE": data_path.removesuffix("tables/"),
    }
    given: list[object] = []

    def renew(*, was_rolled_back: bool = False) -> None:
        if was_rolled_back:
            given.clear()
            return
        try:
            keys = credentials.get_frozen_credentials() if credentials is not None else None
        except botocore.exceptions.BotoCoreError as error:
            raise LakeError(f"the keys for {data_path} cannot be renewed: {error}; see that the role is still granted") from None
        if given == [keys]:
            return
        settings = dict(fixed)
        if keys is not None:
            settings |= {"KEY_ID": keys.access_key, "SECRET": keys.secret_key}
            settings |= {"SESSION_TOKEN": keys.token} if keys.token else {}
        said = ", ".join(f"{name} {quote(value)}" for name, value in settings.items())
        try:
            connection.execute(f"CREATE OR REPLACE TEMPORARY SECRET lake_tables (TYPE s3, USE_SSL {endpoint.scheme == 'https'}, {said})")
        except duckdb.Error:
            raise LakeError(f"DuckDB does not take the account for {data_path}; see that its keys are whole") from None
        given[:] = [keys]

    renew()
    return renew


def keep_to(connection: duckdb.DuckDBPyConnection, data_path: str) -> None:
    """Let a connection that has its lake attached read files of this machine and below `data_path`, and of no other store or web server.

    Where the Postgres extension is loaded, `postgres_scan` still takes any server.
    A question may name any file: httpfs would ask AWS for a bucket of that name, whose owner would see it.
    """
    connection.execute("SET disabled_filesystems = 'HTTPFileSystem,HuggingFaceFileSystem'")
    connection.execute(f"SET allowed_directories = ['/', {quote(data_path)}]")
    connection.execute("SET enable_external_access = false")


@contextlib.contextmanager
def narrowed(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """For a question of a person: no `?s3_endpoint=...` after a name leads to another server, and what `keep_to` refuses is a sentence.

    Names are no patterns meanwhile; maintenance needs those.

    Raises:
        LakeError: the question names a file elsewhere.
    """
    connection.execute("SET s3_url_compatibility_mode = true")
    try:
        yield
    except duckdb.PermissionException as error:
        told = str(error).partition("\n")[0]
        raise LakeError(f"a question reads files of this machine and of the lake alone ({told}); fetch the file and name that") from None
    finally:
        connection.execute("RESET s3_url_compatibility_mode")
