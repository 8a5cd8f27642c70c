"""The short way to a partition, for tables of which LIKE copies all there is.

It does what the block of `op.create_range_partitions` does then, in less than half of the time:
what that finds out on the server is known, and only looked at once more under the lock.
"""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from zoneinfo import ZoneInfo

from psycopg.sql import SQL, Composable, Literal
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.partitions.catalog import PartitionedTable
from alembic_enterprise.partitions.declaration import NAME_BYTES
from alembic_enterprise.partitions.due import bounds
from alembic_enterprise.partitions.marks import made_for
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.periods import SUFFIX_BYTES, moment, suffix
from alembic_enterprise.partitions.steps import Step, period
from alembic_enterprise.sql import Name, do_block, rendered, sqlstate

NOT_PLAIN = "42P17"
"""SQLSTATE (invalid_object_definition) of the block where the short way is not enough, and of the
server where a partition would overlap another."""

LONG_WAY = ("42P07", "42710", NOT_PLAIN)
"""SQLSTATEs after which the long way may succeed: the name is taken, by a table or a type, too."""

_SOME = SQL("SELECT c.oid FROM pg_catalog.pg_class AS c WHERE {}")

# OFFSET 0 has each EXISTS planned by itself: a search for the best join of all takes longest.
_AND_PLAIN = rendered(
    SQL("""
  AND c.relpersistence = 'p' AND c.relam = 0 AND c.reltablespace = 0 AND c.relreplident = 'd'
  AND NOT c.relrowsecurity AND NOT c.relforcerowsecurity
  AND pg_get_userbyid(c.relowner) = current_user AND c.relacl IS NULL
  AND octet_length(c.relname) <= {longest}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                  WHERE attrelid = c.oid AND attacl IS NOT NULL OFFSET 0)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                  WHERE tgrelid = c.oid AND NOT tgisinternal AND tgtype & 1 = 0 OFFSET 0)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl
                  WHERE defaclrole = c.relowner AND defaclobjtype = 'r'
                    AND defaclnamespace IN (0, c.relnamespace) OFFSET 0)""").format(
        longest=Literal(NAME_BYTES - max(SUFFIX_BYTES.values()))
    )
)

_AND_PARTITIONS = SQL("""
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i
                  JOIN pg_catalog.pg_class AS p ON p.oid = i.inhrelid
                  WHERE i.inhparent = c.oid AND p.reloptions IS NOT NULL)""")
"""Storage parameters are those of other partitions; that they change meanwhile is no matter."""


def plain_tables(connection: Connection, tables: Iterable[PartitionedTable]) -> set[int]:
    """The oids of tables for whose partitions LIKE does all, and a name is not too long.

    LIKE leaves behind owner, grants, row security, replica identity, persistence, access method,
    tablespace, storage parameters (PostgreSQL docs, "CREATE TABLE") and statement triggers.
    """
    whole = [table for table in tables if table.policy and table.policy.partition_by is None]
    parents = SQL("c.oid = ANY ({}::oid[])").format(Literal(sorted(table.oid for table in whole)))
    query = _SOME.format(parents) + _AND_PLAIN + _AND_PARTITIONS
    return {oid for (oid,) in sql.rows(connection, query)}


_CREATE = """BEGIN
    LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE;
    IF NOT EXISTS ({plain}) OR {differs} THEN
        RAISE EXCEPTION 'not the short way' USING ERRCODE = {not_plain};
    END IF;
    CREATE TABLE {partition} (LIKE {table} INCLUDING DEFAULTS INCLUDING GENERATED
        INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS
        INCLUDING STATISTICS);
    COMMENT ON TABLE {partition} IS {comment};
    ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({lower}) TO ({upper});
END"""


def create_plainly(table: PartitionedTable, policy: Policy, start: date, stop: date) -> Step:
    """Create the partition of one whole period of a plain table.

    It fails with one of `LONG_WAY` where the long way would do something else: a part of the period
    has a partition, the name is taken, the table is not plain any more, or the server knows the
    time zone otherwise than this machine.
    """
    partition = Name(table.name.schema, table.name.name + suffix(start, policy.every))
    lower, upper = (Literal(end.isoformat(" ")) for end in bounds(table, policy, start, stop))
    relation = SQL("c.oid = {}::regclass").format(table.name.regclass)
    statement = do_block(
        _CREATE,
        table=table.name.sql,
        plain=_SOME.format(relation) + _AND_PLAIN,
        differs=SQL("false") if table.naive else _differs(policy.timezone, start, stop),
        not_plain=Literal(NOT_PLAIN),
        partition=partition.sql,
        comment=Literal(made_for(table.name)),
        lower=lower,
        upper=upper,
    )
    return Step("create", period(start, stop), statement)


@lru_cache(maxsize=4096)  # tables that are cut alike ask for the same days
def _differs(timezone: str, *days: date) -> Composable:
    """Whether the server and this machine disagree when some days begin in a time zone."""
    midnight = SQL("{}::timestamp AT TIME ZONE {} <> {}::timestamptz")
    zone = ZoneInfo(timezone)
    each = (
        midnight.format(Literal(str(day)), Literal(timezone), Literal(str(moment(day, zone))))
        for day in days
    )
    return rendered(SQL(" OR ").join(each))


DISAGREE = (
    "{}: the server's time zone data for {} differ from this machine's, so part of this period "
    "has no partition. Update the time zone data of the older one: the server's, or tzdata here"
)
"""The problem with a period that was created and is still not whole, and the next step."""


def takes_the_long_way(error: BaseException | None) -> bool:
    """Whether the general way may succeed after this error of `create_plainly`."""
    return isinstance(error, DBAPIError) and sqlstate(error) in LONG_WAY
