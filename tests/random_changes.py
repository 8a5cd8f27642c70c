"""Random statements on small tables, and row triggers that tell independently what they did.

The tables' columns are called like what stands inside the functions that capture changes.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

COLUMNS: LiteralString = (
    "tenant, id, amount, moment, actor, tg_op, new_rows, old_rows, n, o, audit, doubled"
)

_TABLE: LiteralString = """
CREATE TABLE t (
    tenant int, id int, amount int, moment timestamptz DEFAULT now(), actor text DEFAULT 'nobody',
    tg_op text, new_rows int[] DEFAULT '{1,NULL}', old_rows jsonb DEFAULT '{"a": [1.50]}', n text,
    o bytea, audit numeric DEFAULT 1.50, doubled bigint GENERATED ALWAYS AS (amount * 2) STORED,
    PRIMARY KEY (tenant, id)"""

# What a BEFORE trigger makes of a row, or that it stops it, is what counts.
_MEDDLING: LiteralString = """
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    IF TG_OP = 'DELETE' THEN
        RETURN CASE WHEN OLD.amount % 7 <> 1 THEN OLD END;
    END IF;
    NEW.n := 'meddled ' || coalesce(NEW.n, '');
    RETURN CASE WHEN NEW.amount % 7 <> 2 THEN NEW END;
END$$;
CREATE TRIGGER meddle BEFORE INSERT OR UPDATE OR DELETE ON t
FOR EACH ROW EXECUTE FUNCTION meddle();
"""

_ORACLE: LiteralString = """
CREATE TABLE oracle (batch text, old_row text, new_row text, old_key int[], new_key int[]);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    INSERT INTO oracle VALUES (current_setting('alembic_enterprise.context')::jsonb ->> 'batch',
        OLD::text, NEW::text, ARRAY[OLD.tenant, OLD.id], ARRAY[NEW.tenant, NEW.id]);
    RETURN NULL;
END$$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION tell();
"""

SETUPS: dict[str, LiteralString] = {
    "plain": _TABLE + ");" + _ORACLE,
    "deferrable": _TABLE + " DEFERRABLE);" + _ORACLE,
    "meddling": _TABLE + ");" + _MEDDLING + _ORACLE,
    "cascading": "CREATE TABLE tenants (tenant int PRIMARY KEY);"
    "INSERT INTO tenants SELECT generate_series(1, 4);"
    + _TABLE
    + ", FOREIGN KEY (tenant) REFERENCES tenants ON DELETE CASCADE ON UPDATE CASCADE);"
    + _ORACLE,
    "partitioned": _TABLE
    + """) PARTITION BY RANGE (id);
CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (MINVALUE) TO (15);
CREATE TABLE t_high PARTITION OF t FOR VALUES FROM (15) TO (MAXVALUE) PARTITION BY HASH (tenant);
CREATE TABLE t_high_0 PARTITION OF t_high FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE t_high_1 PARTITION OF t_high FOR VALUES WITH (MODULUS 2, REMAINDER 1);
"""
    + _MEDDLING
    + _ORACLE,
}
"""Statements that make the table `t` of each kind, and its oracle: one row for each row changed."""


@dataclass(frozen=True)
class Step:
    """One statement, which makes up a batch.

    Attributes:
        rows: what COPY is given.
        moves: whether it is an UPDATE that may move rows to other partitions, where the row
            triggers see a DELETE and an INSERT.
    """

    text: str
    rows: str | None = None
    moves: bool = False


class Generator:
    """Random statements, the same for the same seed."""

    def __init__(self, kind: str, seed: int, *, merges: bool) -> None:
        """`merges`: whether the server knows MERGE."""
        self.kind = kind
        self.random = random.Random(seed)  # noqa: S311  # tests
        self.makers = [
            self.insert, self.insert, self.upsert, self.upsert, self.update, self.update,
            self.rekey, self.rekey, self.swap, self.delete, self.copy, self.together,
            self.carry_over, self.truncate, *([self.merge] * 3 if merges else []),
            *([self.cascade] * 3 if kind == "cascading" else []),
        ]  # fmt: skip

    def units(self, count: int) -> Iterator[list[Step]]:
        """What is run together: one statement, or a savepoint with one that is undone."""
        while count > 0:
            steps = [self.step()]
            if self.random.random() < 0.15:
                steps = [Step("BEGIN"), Step("SAVEPOINT a"), *steps]
                steps += [Step("ROLLBACK TO a"), self.step(), Step("COMMIT")]
            yield steps
            count -= sum(step.text not in ("BEGIN", "COMMIT") for step in steps)

    def step(self) -> Step:
        """One statement."""
        return self.random.choice(self.makers)()

    def number(self, least: int, most: int) -> int:
        """A random number."""
        return self.random.randint(least, most)

    def table(self) -> str:
        """The table, or one of its partitions."""
        if self.kind != "partitioned":
            return "t"
        return self.random.choice(["t", "t", "t_low", "t_high", "t_high_0", "t_high_1"])

    def where(self) -> str:
        """A condition that some rows meet, none, or all."""
        return self.random.choice([
            f"tenant = {self.number(1, 4)} AND id = {self.number(1, 30)}",
            f"tenant = {self.number(1, 4)}",
            f"id BETWEEN {self.number(1, 30)} AND {self.number(1, 30)}",
            f"amount % 3 = {self.number(0, 2)}",
            "false",
        ])  # fmt: skip

    def values(self) -> str:
        """Some rows of `tenant, id, amount, n`."""
        return ", ".join(
            f"({self.number(1, 4)}, {self.number(1, 30)}, {self.number(1, 99)}, "
            + self.random.choice(["NULL)", "'o''n')", r"'\\ $$ \"')"])
            for _ in range(self.number(1, 6))
        )

    def insert(self) -> Step:
        return Step(
            f"INSERT INTO {self.table()} (tenant, id, amount, n) VALUES {self.values()}"
            + self.random.choice(["", " ON CONFLICT DO NOTHING"])
        )

    def upsert(self) -> Step:
        change = self.random.choice(
            ["amount = t.amount + 1", "amount = excluded.amount, o = '\\x00'"]
        )
        where = self.random.choice(["", " WHERE t.amount % 2 = 0"])
        return Step(
            f"INSERT INTO t (tenant, id, amount, n) SELECT DISTINCT ON (1, 2) * FROM"
            f" (VALUES {self.values()}) AS v (a, b, c, d) ON CONFLICT (tenant, id)"
            f" DO UPDATE SET {change}{where}"
        )

    def update(self) -> Step:
        change = self.random.choice(["amount = amount + 1", "n = NULL, tg_op = 'x'", "id = id"])
        return Step(f"UPDATE {self.table()} SET {change} WHERE {self.where()}")

    def rekey(self) -> Step:
        change = self.random.choice(["id = id + 40", "id = id % 40 + 1", "tenant = tenant % 4 + 1"])
        return Step(f"UPDATE {self.table()} SET {change} WHERE {self.where()}", moves=True)

    def swap(self) -> Step:
        first = self.number(1, 30)
        pair = f"({first}, {first + 1})"
        return Step(f"UPDATE t SET id = {2 * first + 1} - id WHERE id IN {pair}", moves=True)

    def delete(self) -> Step:
        return Step(f"DELETE FROM {self.table()} WHERE {self.where()}")

    def truncate(self) -> Step:
        return Step(f"TRUNCATE {self.table()}" if self.random.random() < 0.2 else "SELECT 1")

    def copy(self) -> Step:
        rows = "".join(
            f"{self.number(1, 4)}\t{self.number(31, 60)}\t{self.number(1, 99)}\t\\N\n"
            for _ in range(self.number(1, 3))
        )
        return Step(f"COPY {self.table()} (tenant, id, amount, n) FROM STDIN", rows)

    def together(self) -> Step:
        tenants = self.random.sample(range(1, 5), 4)
        return Step(
            f"WITH a AS (UPDATE t SET amount = amount + 1 WHERE tenant = {tenants[0]}),"
            f" b AS (UPDATE t SET id = id WHERE tenant = {tenants[1]}),"
            f" c AS (DELETE FROM t WHERE tenant = {tenants[2]} AND {self.where()})"
            f" INSERT INTO t (tenant, id, amount) SELECT {tenants[3]}, id, amount"
            f" FROM t WHERE tenant = {tenants[0]} ON CONFLICT DO NOTHING"
        )

    def carry_over(self) -> Step:
        """Rows that are deleted and inserted again in one statement."""
        return Step(
            f"WITH gone AS (DELETE FROM t WHERE {self.where()} RETURNING *)"
            " INSERT INTO t (tenant, id, amount, n)"
            f" SELECT tenant, id, amount + {self.number(0, 1)}, n FROM gone"
        )

    def merge(self) -> Step:
        insert = "WHEN NOT MATCHED THEN INSERT (tenant, id, amount) VALUES (s.a, s.b, s.c)"
        update = "WHEN MATCHED THEN UPDATE SET amount = s.c"
        delete = "WHEN MATCHED AND s.c % 3 = 0 THEN DELETE"
        on = self.random.choice(["t.id = s.b", "t.amount = s.c"])
        actions = self.random.choice(
            [f"{delete} {update} {insert}", f"{delete} {insert}", f"{update} {insert}", delete]
        )
        return Step(
            f"MERGE INTO t USING (SELECT DISTINCT ON (1, 2) * FROM (VALUES {self.values()})"
            f" AS v (a, b, c, d)) AS s ON t.tenant = s.a AND {on} {actions}"
        )

    def cascade(self) -> Step:
        tenant = self.number(1, 4)
        return Step(self.random.choice([
            f"DELETE FROM tenants WHERE tenant = {tenant}",
            f"UPDATE tenants SET tenant = tenant + 10 WHERE tenant = {tenant}",
            f"UPDATE tenants SET tenant = tenant - 10 WHERE tenant = {tenant + 10}",
            "INSERT INTO tenants SELECT generate_series(1, 4) ON CONFLICT DO NOTHING",
        ]))  # fmt: skip
