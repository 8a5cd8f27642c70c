"""`jobs render pg_cron`: the SQL schedules one job a table, and each creates what is due.

A stub takes the place of pg_cron here; tests/system runs the extension itself.
"""

from collections.abc import Callable
from typing import Any

import pytest
from console import Outcome
from sqlalchemy import Engine, make_url

from alembic_enterprise import sql
from alembic_enterprise.jobs.pg_cron import job_name
from alembic_enterprise.partitions import catalog
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import SetPartitionPolicy
from alembic_enterprise.sql import Name

STUB = """
CREATE SCHEMA cron;
CREATE TABLE cron.job (
    jobname name, schedule text, command text, database text DEFAULT current_database(),
    username text DEFAULT current_user, PRIMARY KEY (jobname, username));
CREATE FUNCTION cron.schedule_in_database(text, text, text, text, text) RETURNS void LANGUAGE sql
    AS 'INSERT INTO cron.job VALUES ($1, $2, $3, $4, $5)'
"""
"""What the SQL calls of pg_cron, with the parameters that 1.4 has."""

NOW = "2026-11-21 23:30+00"
"""In Berlin it is the 22nd."""

WEIRD = Name(None, 'we"ird')
HOSTILE = Name('we"ird', "$job$ 'a'; %s :b \\ é\n-- c")

Schedule = Callable[..., str]


def execute(engine: Engine, text: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(text, execution_options={"no_parameters": True})


def make(engine: Engine, name: Name, policy: Policy, kind: str = "timestamptz") -> None:
    """A partitioned table without partitions, and its policy."""
    execute(engine, f"CREATE TABLE {name.text} (at {kind} NOT NULL) PARTITION BY RANGE (at)")
    with engine.begin() as connection:
        for statement in SetPartitionPolicy.of(name, policy).statements():
            sql.execute(connection, statement)


@pytest.fixture
def schedule(engine: Engine, run: Callable[..., Outcome]) -> Schedule:
    """A function that renders the SQL, runs it against the stub, and returns it."""
    url = engine.url.render_as_string(hide_password=False)
    execute(engine, f"ALTER DATABASE {engine.url.database} SET alembic_enterprise.now = '{NOW}'")
    execute(engine, STUB)

    def schedule(*options: str) -> str:
        outcome = run("jobs", "render", "pg_cron", "--url", url, *options)
        assert (outcome.code, outcome.error) == (0, "")
        execute(engine, outcome.output)
        return outcome.output

    return schedule


def jobs(engine: Engine) -> list[Any]:
    with engine.begin() as connection:
        return list(connection.exec_driver_sql("SELECT * FROM cron.job ORDER BY jobname"))


def run_jobs(engine: Engine) -> None:
    """Run each job's command as pg_cron does: the whole text at once, in a session of its own."""
    for job in jobs(engine):
        execute(engine, job.command)


def bounds(engine: Engine, name: Name) -> list[str]:
    """The bounds of the table's partitions, in order."""
    with engine.begin() as connection:
        table = catalog.read(connection).tables[name]
        return [item.bound for item in catalog.partitions(connection, [table])[name]]


def test_one_job_a_table_creates_what_is_due(engine: Engine, schedule: Schedule) -> None:
    events, days = Name("public", "events"), Name("public", "days")
    make(engine, events, Policy("month", 1, retain=2, timezone="Europe/Berlin"))
    make(engine, days, Policy("day", 1, timezone="Europe/Berlin"), "date")
    schedule()
    run_jobs(engine)
    database = engine.url.database
    assert [job.jobname for job in jobs(engine)] == [
        f"{database}: public.days",
        f"{database}: public.events",
    ]
    assert bounds(engine, days) == [
        "FOR VALUES FROM ('2026-11-22') TO ('2026-11-23')",
        "FOR VALUES FROM ('2026-11-23') TO ('2026-11-24')",
    ]
    assert bounds(engine, events) == [
        "FOR VALUES FROM ('2026-10-31 23:00:00+00') TO ('2026-11-30 23:00:00+00')",
        "FOR VALUES FROM ('2026-11-30 23:00:00+00') TO ('2026-12-31 23:00:00+00')",
    ]


def test_a_job_goes_on_with_time_and_repeats_nothing(engine: Engine, schedule: Schedule) -> None:
    name = Name("public", "events")
    make(engine, name, Policy("month", 1))
    schedule()
    run_jobs(engine)
    run_jobs(engine)
    later = "SET alembic_enterprise.now = '2027-01-05 00:00+00'"
    execute(engine, f"ALTER DATABASE {engine.url.database} {later}")
    run_jobs(engine)
    assert [bound[17:27] for bound in bounds(engine, name)] == [
        "'2026-11-0",
        "'2026-12-0",
        "'2027-01-0",
        "'2027-02-0",
    ]


def test_expired_partitions_do_not_come_back(engine: Engine, schedule: Schedule) -> None:
    name = Name("public", "events")
    make(engine, name, Policy("month", 0, retain=1, start="2026-01-01"))
    schedule()
    run_jobs(engine)
    assert len(bounds(engine, name)) == 1


def test_nothing_is_created_before_the_policy_starts(engine: Engine, schedule: Schedule) -> None:
    name = Name("public", "events")
    make(engine, name, Policy("month", 2, start="2027-01-01"))
    schedule()
    run_jobs(engine)
    (bound,) = bounds(engine, name)
    assert bound.startswith("FOR VALUES FROM ('2027-01-01")


def test_names_that_hurt_stay_names(engine: Engine, schedule: Schedule) -> None:
    execute(engine, f"CREATE SCHEMA {WEIRD.text}")
    make(engine, HOSTILE, Policy("week", 1))
    schedule()
    run_jobs(engine)
    assert len(bounds(engine, HOSTILE)) == 2


def test_a_table_with_a_default_partition_is_left_out(engine: Engine, schedule: Schedule) -> None:
    execute(engine, f"CREATE SCHEMA {WEIRD.text}")
    make(engine, HOSTILE, Policy("month", 1))
    execute(engine, f"CREATE TABLE other PARTITION OF {HOSTILE.text} DEFAULT")
    assert "is left out: it has a default partition" in schedule()
    assert jobs(engine) == []


def test_a_job_gives_up_rather_than_make_others_wait(engine: Engine, schedule: Schedule) -> None:
    make(engine, Name("public", "events"), Policy("month", 1))
    schedule()
    assert jobs(engine)[0].command.strip().startswith("SET lock_timeout = '200ms';\nDO ")


def test_jobs_run_hourly_as_who_rendered_them(engine: Engine, schedule: Schedule) -> None:
    make(engine, Name("public", "events"), Policy("month", 1))
    text = schedule()
    (job,) = jobs(engine)
    assert (job.schedule, job.database) == ("23 * * * *", engine.url.database)
    assert job.username == make_url(str(engine.url)).username
    assert f"\n-- as role {job.username}: " in text


def test_it_says_that_retention_needs_the_job_outside(engine: Engine, schedule: Schedule) -> None:
    make(engine, Name("public", "events"), Policy("month", 1, retain=3))
    assert "only where `alembic-enterprise partitions maintain` runs as well" in schedule()


def test_lines_of_comments_fit_a_screen(engine: Engine, schedule: Schedule) -> None:
    make(engine, Name("public", "events"), Policy("month", 1))
    comments = [line for line in schedule().splitlines() if line.startswith("--")]
    assert max(map(len, comments)) <= 100


def test_a_database_without_policies_is_told(
    database_url: str, run: Callable[..., Outcome]
) -> None:
    outcome = run("jobs", "render", "pg_cron", "--url", database_url)
    assert (outcome.code, outcome.output) == (1, "")
    assert "no table has a policy: declare RangePartitions" in outcome.error


def as_role(url: str, role: str) -> list[str]:
    """What lets a command run as a role."""
    return ["--url", f"{url}&options=-c%20role%3D{role}"]


def test_policies_that_may_not_be_read_are_told(
    engine: Engine, database_url: str, role: str, run: Callable[..., Outcome]
) -> None:
    """Neither does a role that may read none of them hear that there are none."""
    make(engine, Name("public", "events"), Policy("month", 1))
    outcome = run("jobs", "render", "pg_cron", *as_role(database_url, role))
    assert (outcome.code, outcome.output) == (1, "")
    assert outcome.error.startswith("Error: no right to read the policies in alembic_enterprise_po")
    execute(engine, "CREATE SCHEMA own")
    execute(engine, "CREATE SCHEMA closed")
    for name in (Name("own", "days"), Name("closed", "months")):
        make(engine, name, Policy("day", 1))
    for table in ("days", "alembic_enterprise_policy"):
        execute(engine, f"ALTER TABLE own.{table} OWNER TO {role}")
    execute(engine, f"GRANT USAGE ON SCHEMA own TO {role}")
    execute(engine, f"GRANT SELECT ON alembic_enterprise_policy TO {role}")
    outcome = run("jobs", "render", "pg_cron", *as_role(database_url, role))
    assert (outcome.code, outcome.error) == (0, "")
    assert "\n-- closed.alembic_enterprise_policy may not be read, so" in outcome.output
    owner = make_url(database_url).username
    assert f"\n-- public.events is left out: it belongs to {owner}, and {role}" in outcome.output
    assert outcome.output.count("SELECT cron.schedule_in_database(") == 1
    assert "own.days" in outcome.output


def test_a_role_that_owns_no_table_gets_no_job(
    engine: Engine, database_url: str, role: str, run: Callable[..., Outcome]
) -> None:
    make(engine, Name("public", "events"), Policy("month", 1))
    execute(engine, f"GRANT SELECT ON alembic_enterprise_policy TO {role}")
    outcome = run("jobs", "render", "pg_cron", *as_role(database_url, role))
    owner = make_url(database_url).username
    assert outcome == Outcome(
        1,
        "",
        f"Error: public.events belongs to {owner}, and {role} may not alter it: connect as "
        f"{owner}\n",
    )


def test_names_of_jobs_fit_and_differ() -> None:
    long = [job_name("shop", Name("schema", "é" * 30 + ending)) for ending in ("a", "b")]
    assert all(len(name.encode()) <= 63 for name in long)
    assert len(set(long)) == 2
    assert job_name("shop", Name("public", "events")) == "shop: public.events"


def test_tables_with_dots_in_their_names_have_jobs_of_their_own() -> None:
    """A job replaces another of its name."""
    names = [Name("a.b", "c"), Name("a", "b.c"), Name('"a', 'b"."c"'), Name('"a.b"', "c")]
    assert job_name("shop", names[0]) == 'shop: "a.b"."c"'
    assert len({job_name("shop", name) for name in names}) == len(names)
    assert job_name("shop", Name("a", 'we"ird')) == 'shop: a.we"ird', "as it was always called"


def test_each_level_gets_what_is_due(engine: Engine, schedule: Schedule) -> None:
    execute(
        engine,
        """
        CREATE TABLE outside (id int, at date NOT NULL) PARTITION BY HASH (id);
        CREATE TABLE one PARTITION OF outside FOR VALUES WITH (MODULUS 2, REMAINDER 0)
            PARTITION BY RANGE (at);
        CREATE TABLE two PARTITION OF outside FOR VALUES WITH (MODULUS 2, REMAINDER 1)
            PARTITION BY RANGE (at);
        CREATE TABLE inside (id int, at date NOT NULL) PARTITION BY RANGE (at)""",
    )
    by_hash = Policy("year", ahead=0, partition_by='HASH ("id")', shards=2)
    with engine.begin() as connection:
        for name, policy in {"outside": Policy("year", ahead=0), "inside": by_hash}.items():
            for statement in SetPartitionPolicy.of(Name(None, name), policy).statements():
                sql.execute(connection, statement)
    schedule()
    run_jobs(engine)
    with engine.begin() as connection:
        leaves = connection.exec_driver_sql(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relispartition ORDER BY 1"
        )
        assert [name for (name,) in leaves] == [
            "inside_y2026_shard_0",
            "inside_y2026_shard_1",
            "one_y2026",
            "two_y2026",
        ]
