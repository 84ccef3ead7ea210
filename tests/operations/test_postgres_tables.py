"""A lake whose catalog is a Postgres database and whose tables lie in an S3 store."""

import datetime
from pathlib import Path

import pytest

from flows.cli.cli import main
from tests.helpers.object_store import empty_bucket
from tests.helpers.postgres import Server, binaries
from tests.helpers.rejects import add_reject
from warehouse.backup import copy_lake
from warehouse.catalog import LakeError
from warehouse.lake import open_lake
from warehouse.maintenance import live_sizes, maintain
from warehouse.postgres import lake_folder
from warehouse.table_store import table_files

pytest.importorskip("duckdb_extension_httpfs", reason="httpfs is not installed; pip install 'endoforge[s3]'")
pytestmark = pytest.mark.skipif(binaries() is None, reason="no Postgres server is installed; apt-get install postgresql")

URI = "s3://vault/lake"
NOTHING = datetime.timedelta(0)


def test_the_database_leads_to_the_folder_by_the_mark_and_all_works(postgres: Server, s3_address: str, tmp_path: Path) -> None:
    catalog, lake = postgres.catalog("far"), tmp_path / "lake"
    with empty_bucket(s3_address, "vault") as store:
        command = ["init-lake", "--lake", str(lake), "--catalog", catalog, "--data-path", URI]
        assert main(command) == main(command) == 0
        assert lake_folder(catalog) == lake
        assert main(["sql", "FROM rejects", "--lake", catalog]) == 0
        with open_lake(lake) as opened:
            for number in range(3):
                add_reject(opened, f"{number}")
            maintain(opened, keep=NOTHING, grace=NOTHING)
            maintain(opened, keep=NOTHING, grace=NOTHING)
            assert table_files(f"{URI}/tables/") == live_sizes(opened)
            assert len(live_sizes(opened)) == 2
        assert postgres.tell("far", "SELECT value FROM ducklake_metadata WHERE key = 'data_path'") == f"{URI}/tables/"
        copied = copy_lake(lake, tmp_path / "backup")
        store.rm_file("vault/lake/lake.json")
        with pytest.raises(LakeError, match="nothing there names the lake's folder"):
            lake_folder(catalog)
    with open_lake(tmp_path / "backup", read_only=True) as backup:
        assert backup.rows("SELECT count(*) AS n FROM rejects") == [{"n": 3}]
    assert copied.num_new == 2


def test_another_database_deletes_nothing(postgres: Server, s3_address: str, tmp_path: Path) -> None:
    catalog, lake = postgres.catalog("first"), tmp_path / "lake"
    with empty_bucket(s3_address, "vault"):
        assert main(["init-lake", "--lake", str(lake), "--catalog", catalog, "--data-path", URI]) == 0
        postgres.tell("postgres", "CREATE DATABASE second TEMPLATE first")
        (lake / "catalog.toml").write_text((lake / "catalog.toml").read_text().replace("dbname=first", "dbname=second"))
        with open_lake(lake) as other, pytest.raises(LakeError, match=r"belong to the lake in .*/lake, and the one in"):
            maintain(other, keep=NOTHING, grace=NOTHING)
