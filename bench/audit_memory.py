"""Memory of a session that updates every row of an audited table in one statement.

    python bench/audit_memory.py
    python bench/audit_memory.py --rows 10000000    # some minutes, and 8 GB of disk

Two tables of a few columns, one ten times as large as the other, are updated, each by a session of
its own; work_mem is the server's default, 4 MB, unless `--work-mem` says otherwise. The rows that
triggers are handed, old and new, and the join that looks for changed keys go to files beyond it.
Shared memory is left out: what counts is the highest RssAnon of the server's process, read from
/proc/<pid>/status a hundred times a second. Linux only. Data and files are on disk, in a folder of
TMPDIR. Exits with 1 when a promise is broken.
"""

import argparse
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from threading import Event, Thread
from time import perf_counter

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import Engine, NullPool, create_engine

from alembic_enterprise import sql
from alembic_enterprise.audit.operations import CreateAuditTrail
from alembic_enterprise.server import temporary_server

SHARE = 10
"""How many times larger one of the tables is."""

MOST_WORK_MEM = 8.0
"""Two sets of rows, a join with its hash table and buffers of its files."""

MOST_GROWTH = 1.5

TABLE = SQL("CREATE TABLE {} (id bigint PRIMARY KEY, amount bigint, state text) WITH (fillfactor=50)")
ROWS = SQL("INSERT INTO {} SELECT n, n % 1000, 'new' FROM generate_series(1, {}) AS n")
UPDATE = SQL("UPDATE {} SET amount = amount + 1, state = 'paid'")
CAPTURED = SQL(
    "SELECT count(*), count(DISTINCT h.id), count(*) FILTER (WHERE h.amount = o.amount"
    " AND h.state = o.state AND h.audit_action = 'update')"
    " FROM {} AS h JOIN {} AS o USING (id)"
)
