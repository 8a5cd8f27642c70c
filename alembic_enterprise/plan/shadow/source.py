"""All that is read of a live database for a shadow of it, whose connection may be closed then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.plan.revisions import VERSION_TABLE
from alembic_enterprise.plan.shadow import maintained, stand_ins
from alembic_enterprise.plan.shadow.dump import Endpoint
from alembic_enterprise.plan.shadow.maintained import Periods
from alembic_enterprise.plan.shadow.original import Original
from alembic_enterprise.plan.shadow.schema_copy import Rest
from alembic_enterprise.plan.shadow.stand_ins import StandIn
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Source:
    """A live database.

    Attributes:
        original: what a shadow has to be like.
        endpoint: how pg_dump gets there.
        rest: what pg_dump does not say.
        extensions: what would stand in for each of them.
        old: by table, partitions of whole periods that are not copied.
        left_out: the same, with those that they are partitioned into themselves.
    """

    original: Original
    endpoint: Endpoint
    rest: Rest
    extensions: Sequence[StandIn]
    old: Periods
    left_out: Mapping[Name, Sequence[Name]]

    @classmethod
    def read(
        cls, live: Connection, version_table: Name = VERSION_TABLE, *, whole: bool = False
    ) -> Self:
        """Read the catalog.

        Args:
            live: a connection to the database; its transaction becomes read-only.
            version_table: where Alembic keeps the revisions.
            whole: copy all partitions, however many there are of whole periods of a policy.
        """
        sql.read_only(live)
        old = {} if whole else maintained.superfluous(live)
        return cls(
            original=Original.read(live, version_table),
            endpoint=Endpoint.of(live),
            rest=Rest.read(live, version_table),
            extensions=stand_ins.read(live),
            old=old,
            left_out=maintained.inside(live, old),
        )
