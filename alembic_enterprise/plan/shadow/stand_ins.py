"""What stands on a shadow in the place of extensions that its server lacks: their functions.

A function with the right signature lets defaults, views and policies that call it be created; it
gives NULL, or a random uuid. Those with types of the extension itself cannot be had.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from psycopg.sql import SQL, Composable, Identifier
from sqlalchemy import Connection

from alembic_enterprise import sql
from alembic_enterprise.binaries import hand_over
from alembic_enterprise.sql import Name, text_of

OLDEST = 18
"""The first version with `extension_control_path`, a folder of one's own for extensions."""


@dataclass(frozen=True)
class StandIn:
    """An extension of the live database that another server lacks.

    Attributes:
        functions: schema, name, and what follows in CREATE FUNCTION.
    """

    extension: str
    version: str
    functions: tuple[tuple[str, ...], ...]

    @property
    def gap(self) -> str:
        """What that means, as a sentence."""
        return (
            f"extension {self.extension} is not on the shadow's server: {len(self.functions)} "
            "stand-ins of its functions give NULL or a random uuid, and its types are missing"
        )

    @property
    def statements(self) -> list[Composable]:
        """CREATE FUNCTION, in the schemas of the live database."""
        return [
            SQL("CREATE FUNCTION {} {}").format(Name(schema, name).sql, _verbatim(rest))
            for schema, name, rest in self.functions
        ]

    @property
    def script(self) -> str:
        """The same as an extension runs it, in the schema that it is created in."""
        creations = (
            SQL("CREATE FUNCTION {} {};\n").format(Identifier(name), _verbatim(rest))
            for _, name, rest in self.functions
        )
        return "".join(map(text_of, creations))


def read(live: Connection) -> list[StandIn]:
    """What would stand in for the extensions of the live database."""
    wanted = sql.rows(live, SQL("SELECT oid, extname, extversion FROM pg_catalog.pg_extension"))
    functions = sql.rows(live, _FUNCTIONS)
    return [
        StandIn(name, version, tuple(tuple(row) for of, *row in functions if of == oid))
        for oid, name, version in wanted
    ]


def lacking(wanted: Iterable[StandIn], other: Connection) -> list[StandIn]:
    """Those of extensions that the server of another connection does not have."""
    available = SQL("SELECT name FROM pg_catalog.pg_available_extensions")
    there = {name for (name,) in sql.rows(other, available)}
    return [item for item in wanted if item.extension not in there]


def write(missing: Iterable[StandIn], folder: Path) -> None:
    """Write extensions that consist of stand-ins, for an `extension_control_path`."""
    place = folder / "extension"  # where the server looks, inside of a folder of that path
    place.mkdir(parents=True)
    for item in missing:
        control = place / f"{item.extension}.control"
        control.write_text(f"default_version = '{item.version}'\nrelocatable = true\n")
        script = place / f"{item.extension}--{item.version}.sql"
        script.write_text(item.script, encoding="utf-8")
        hand_over(control, script)
    hand_over(folder, place)


def _verbatim(text: str) -> Composable:
    return SQL(text)  # pyright: ignore[reportArgumentType]  # format() of the server quoted it


_FUNCTIONS = SQL("""
SELECT d.refobjid, n.nspname, p.proname,
       format('(%s) RETURNS %s LANGUAGE plpgsql %s %s AS %L', pg_get_function_arguments(p.oid),
              pg_get_function_result(p.oid),
              CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE'
                                 ELSE 'VOLATILE' END,
              CASE WHEN p.proisstrict THEN 'STRICT' END,
              CASE WHEN p.prorettype = 'pg_catalog.trigger'::regtype
                   THEN 'BEGIN RETURN coalesce(NEW, OLD); END'
                   WHEN p.proretset OR p.proargmodes && '{o,b,t}'::"char"[]
                        OR p.prorettype IN ('void'::regtype, 'record'::regtype)
                   THEN 'BEGIN RETURN; END'
                   WHEN p.prorettype = 'uuid'::regtype
                   THEN 'BEGIN RETURN pg_catalog.gen_random_uuid(); END'
                   ELSE 'BEGIN RETURN NULL; END' END)
FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e'
  AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND p.prokind = 'f'
  AND NOT EXISTS (
      SELECT FROM unnest(p.prorettype || coalesce(p.proallargtypes, p.proargtypes::oid[])) AS u(oid)
      JOIN pg_catalog.pg_type AS t ON t.oid = u.oid
      WHERE t.typnamespace <> 'pg_catalog'::regnamespace
         OR t.typtype = 'p' AND t.typname NOT IN ('trigger', 'void', 'record', 'anyelement',
                                                  'anyarray', 'anynonarray', 'anyenum', 'anyrange'))
ORDER BY 1, 2, 3, 4""")
