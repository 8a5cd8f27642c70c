"""Random statements on small tables, and row triggers that tell independently what they did.

The tables' columns are called like what stands inside the functions that capture changes.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

COLUMNS: LiteralString = (
    "tenant, id, amount, latest, actor, tg_op, new_rows, old_rows, n, o, audit, changed,"
    " depth, mark, action, live, found, rekeyed, is_unordered, is_past"
)

_TABLE: LiteralString = """
CREATE TABLE t (
    tenant int, id int, amount int, latest timestamptz DEFAULT now(), actor text DEFAULT 'nobody',
    tg_op text, new_rows int[] DEFAULT '{1,NULL}', old_rows jsonb DEFAULT '{"a": [1.50]}', n text,
    o bytea, audit numeric DEFAULT 1.50, changed bigint GENERATED ALWAYS AS (amount * 2) STORED,
    depth int, mark text DEFAULT '>', action text DEFAULT 'rekey', live text, found bool,
    rekeyed bool, is_unordered bool DEFAULT true, is_past bool DEFAULT false,
    PRIMARY KEY (tenant, id)"""

_TENANTS: LiteralString = (
    "CREATE TABLE tenants (tenant int PRIMARY KEY);"
    "INSERT INTO tenants SELECT generate_series(1, 4);"
)

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

# What a trigger makes of its own row is told before what called it; that of the oracle tells both,
# as the history does: one row each.
_RESTLESS: LiteralString = """
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    IF NEW.amount % 11 IN (3, 4) THEN
        UPDATE t SET amount = amount + 1 WHERE (tenant, id) = (NEW.tenant, NEW.id);
    ELSIF NEW.amount % 11 = 5 THEN
        DELETE FROM t WHERE (tenant, id) = (NEW.tenant, NEW.id);
    END IF;
    RETURN NULL;
END$$;
CREATE TRIGGER move AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION move();
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
    "cascading": _TENANTS
    + _TABLE
    + ", FOREIGN KEY (tenant) REFERENCES tenants ON DELETE CASCADE ON UPDATE CASCADE);"
    + _ORACLE,
    "entangled": _TENANTS
    + _TABLE
    + """, FOREIGN KEY (tenant) REFERENCES tenants ON DELETE CASCADE ON UPDATE CASCADE,
    FOREIGN KEY (depth) REFERENCES tenants ON DELETE SET NULL ON UPDATE CASCADE);"""
    + _ORACLE,
    "restless": _TABLE + ");" + _RESTLESS + _ORACLE,
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
        moves: whether it is an UPDATE that may move rows to other partitions, where the row
            triggers see a DELETE and an INSERT.
        rows: what COPY is given.
    """

    text: str
    moves: bool = False
    rows: str | None = None


class Generator:
    """Random statements, the same for the same seed."""

    def __init__(self, kind: str, seed: int, *, merges: bool) -> None:
        """`merges`: whether the server knows MERGE."""
        self.kind, self.moves = kind, kind == "partitioned"
        self.random = random.Random(seed)  # noqa: S311  # tests
        self.makers = [
            self.insert, self.insert, self.upsert, self.upsert, self.update, self.update,
            self.rekey, self.rekey, self.swap, self.delete, self.copy, self.together,
            self.carry_over, self.truncate, *([self.merge] * 3 if merges else []),
            *([self.cascade] * 3 if kind in ("cascading", "entangled") else []),
            *([self.cascade, self.entangle, self.insert] * 2 if kind == "entangled" else []),
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
        return Step(f"UPDATE {self.table()} SET {change} WHERE {self.where()}", self.moves)

    def swap(self) -> Step:
        first = self.number(1, 30)
        pair = f"({first}, {first + 1})"
        return Step(f"UPDATE t SET id = {2 * first + 1} - id WHERE id IN {pair}", self.moves)

    def delete(self) -> Step:
        return Step(f"DELETE FROM {self.table()} WHERE {self.where()}")

    def truncate(self) -> Step:
        return Step(f"TRUNCATE {self.table()}" if self.random.random() < 0.2 else "SELECT 1")

    def copy(self) -> Step:
        rows = "".join(
            f"{self.number(1, 4)}\t{self.number(31, 60)}\t{self.number(1, 99)}\t\\N\n"
            for _ in range(self.number(1, 3))
        )
        return Step(f"COPY {self.table()} (tenant, id, amount, n) FROM STDIN", rows=rows)

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
        """Rows that are deleted and inserted again in one statement, or before they are deleted."""
        where = self.where()
        source = f"t WHERE {where}" if self.kind == "deferrable" else "gone"
        return Step(
            f"WITH gone AS (DELETE FROM t WHERE {where} RETURNING *)"
            " INSERT INTO t (tenant, id, amount, n)"
            f" SELECT tenant, id, amount + {self.number(0, 1)}, n FROM {source}"
        )

    def merge(self) -> Step:
        return self.random.choice([self.merge_rows, self.merge_again])()

    def merge_again(self) -> Step:
        """Rows that are deleted and inserted again by one MERGE."""
        return Step(
            "MERGE INTO t USING (SELECT tenant, id, step FROM t, generate_series(1, 2) AS step"
            f" WHERE {self.where()} ORDER BY step) AS s"
            " ON t.tenant = s.tenant AND t.id = s.id AND s.step = 1 WHEN MATCHED THEN DELETE"
            " WHEN NOT MATCHED THEN INSERT (tenant, id) VALUES (s.tenant, s.id)"
        )

    def merge_rows(self) -> Step:
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

    def entangle(self) -> Step:
        """Let rows refer to two tenants, or twice to one."""
        order = f"(tenant + t.id) % {self.number(2, 5)}, tenant"
        return Step(f"UPDATE t SET depth = (SELECT tenant FROM tenants ORDER BY {order} LIMIT 1)")

    def cascade(self) -> Step:
        """What happens to tenants, which are there again for the next statement."""
        tenant, other = self.number(1, 4), self.number(1, 4)
        change = self.random.choice([
            f"DELETE FROM tenants WHERE tenant IN ({tenant}, {other})",
            f"DELETE FROM tenants WHERE tenant IN ({tenant}, {other}, {other + 10})",
            f"UPDATE tenants SET tenant = tenant + 10 WHERE tenant = {tenant}",
            f"UPDATE tenants SET tenant = tenant - 10 WHERE tenant = {tenant + 10}",
        ])  # fmt: skip
        restore = "INSERT INTO tenants SELECT generate_series(1, 4) ON CONFLICT DO NOTHING"
        return Step(f"DO $$BEGIN {change}; {restore}; END$$")
