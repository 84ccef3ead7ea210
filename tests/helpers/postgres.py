"""A Postgres server of one's own in a folder, reached by its socket alone, as a user who is not root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "n0t-in-any-log"


@dataclass(frozen=True)
class Server:
    """A running server."""

    folder: Path
    binaries: Path

    def catalog(self, database: str) -> str:
        """What names a new database as a lake's catalog."""
        self.tell("postgres", f"CREATE DATABASE {database}")
        return f"ducklake:postgres:dbname={database} host={self.folder} user=endoforge"

    def tell(self, database: str, statement: str) -> str:
        """What psql prints, without a head."""
        command: list[str | Path] = [self.binaries / "psql", "-h", self.folder, "-U", "endoforge", "-AtXq", "-d", database, "-c", statement]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "PGPASSWORD": PASSWORD}
        ).stdout.strip()


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl, where Debian puts them or on the path; None where no server is installed."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places and (places[-1] / "pg_ctl").is_file() else None


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Make and start a server that asks for a password; it goes with its folder afterwards. PGPASSFILE has the password meanwhile."""
    found = binaries()
    assert found is not None
    user = "nobody" if os.geteuid() == 0 else None  # Postgres refuses to run as root
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp", ignore_cleanup_errors=True) as name:  # a socket's path is short
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "password").write_text(PASSWORD)
        passfile = folder / "pgpass"
        passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
        passfile.chmod(0o600)
        if user is not None:
            ids = pwd.getpwnam(user)
            os.chown(folder, ids.pw_uid, ids.pw_gid)

        def run(program: str, *options: str) -> None:
            subprocess.run([found / program, "-D", folder / "data", *options], check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")

        run("initdb", "--username=endoforge", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--no-sync", "--locale=C.UTF-8")
        settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c log_statement=all"
        run("pg_ctl", "start", "--wait", "--timeout=120", f"--log={folder / 'log'}", f"--options={settings}")
        before = os.environ.get("PGPASSFILE")
        os.environ["PGPASSFILE"] = str(passfile)
        try:
            yield Server(folder=folder, binaries=found)
        finally:
            if before is None:
                del os.environ["PGPASSFILE"]
            else:
                os.environ["PGPASSFILE"] = before
            run("pg_ctl", "stop", "--mode=immediate", "--wait")
