"""A real PgBouncer before the server.

Tests that need it are left out where it is not installed, unless REQUIRE_PGBOUNCER is set, as it is
in .ci/run.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psycopg
from sqlalchemy import URL, make_url

from alembic_enterprise.binaries import server_account

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

LEFT_OUT = not ("REQUIRE_PGBOUNCER" in os.environ or shutil.which("pgbouncer", path=PATH))

SETTINGS = """
[databases]
* = {target}

[pgbouncer]
unix_socket_dir = {folder}
listen_addr =
listen_port = 6432
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
ignore_startup_parameters = extra_float_digits
{more}
"""


@contextmanager
def pooler(database_url: str, mode: str, size: int, more: str = "") -> Generator[str]:
    """The URL of the database through a PgBouncer of the test's own, with `more` settings."""
    program = shutil.which("pgbouncer", path=PATH)
    assert program is not None, "PgBouncer is not installed: apt-get install pgbouncer"
    url, account = make_url(database_url), server_account()
    folder = Path(mkdtemp(prefix="pgbouncer-"))
    text = SETTINGS.format(target=target(url), folder=folder, mode=mode, size=size, more=more)
    (folder / "pgbouncer.ini").write_text(text)
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    user = None if account is None else account.pw_uid
    with subprocess.Popen([program, "-q", folder / "pgbouncer.ini"], user=user) as running:
        try:
            pooled = url.set(host=None, port=None, query={"host": str(folder), "port": "6432"})
            yield ready(pooled.render_as_string(hide_password=False))
        finally:
            running.terminate()
            running.wait()
            shutil.rmtree(folder)


def target(url: URL) -> str:
    """Where PgBouncer connects to, as it is written in its settings."""
    parts = {
        "host": url.query.get("host", url.host),
        "port": url.query.get("port", url.port),
        "user": url.username,
        "password": url.password,
    }
    return " ".join(f"{name}={value}" for name, value in parts.items() if value)


def ready(url: str) -> str:
    for _ in range(100):
        try:
            psycopg.connect(url.replace("+psycopg", "")).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return url
    raise AssertionError("PgBouncer does not answer")
