"""`doctor` on real projects, each with one thing wrong."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console import Outcome
from samples import execute, managed
from sqlalchemy import Engine

ENV = """
import alembic_enterprise.plugin
from alembic import context
from sqlalchemy import MetaData, NullPool, create_engine

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=MetaData(),
        autogenerate_plugins=["alembic.autogenerate.*", "alembic_enterprise.*"],
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.execute("SET lock_timeout = '5s'")
        context.run_migrations()
"""


OFFLINE = """
def configure(**options):
    context.configure(target_metadata=MetaData(), **options)

if context.is_offline_mode():
    url = context.config.get_main_option("sqlalchemy.url")
    configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=NullPool)
    with engine.connect() as connection:
        plugins = ["alembic.autogenerate.*", "alembic_enterprise.*"]
        configure(connection=connection, autogenerate_plugins=plugins,
                  transaction_per_migration=True)
        with context.begin_transaction():
            context.execute("SET lock_timeout = '5s'")
            context.run_migrations()
"""
"""The end of an env.py that has forgotten what `alembic upgrade --sql` writes."""


@pytest.fixture
def env(tmp_path: Path, database_url: str) -> Path:
    """The env.py of a project that lacks nothing."""
    ini = f"[alembic]\nscript_location = .\npath_separator = os\nsqlalchemy.url = {database_url}\n"
    (tmp_path / "alembic.ini").write_text(ini.replace("%", "%%"))
    file = tmp_path / "env.py"
    file.write_text(ENV)
    return file


@pytest.fixture
def doctor(
    run: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """A function that runs doctor in the folder of the project, as a process of its own would."""
    monkeypatch.chdir(tmp_path)

    def doctor(*arguments: str) -> Outcome:
        monkeypatch.delitem(sys.modules, "alembic_enterprise.plugin", raising=False)
        return run("doctor", *arguments)

    return doctor


def change(env: Path, old: str, new: str = "") -> None:
    assert old in ENV
    env.write_text(ENV.replace(old, new))


def missing(outcome: Outcome) -> dict[str, str]:
    """The fixes of what is missing, by check."""
    document: dict[str, Any] = json.loads(outcome.output)
    assert document["format_version"] == 1
    rows = [row for row in document["checks"] if row["state"] == "missing"]
    assert outcome.code == (1 if rows else 0)
    return {row["check"]: row["fix"] for row in rows}


def test_nothing_is_missing(doctor: Callable[..., Outcome], env: Path) -> None:
    assert env.exists()
    outcome = doctor()
    assert (outcome.code, outcome.error) == (0, "")
    assert max(map(len, outcome.output.splitlines())) <= 80
    assert outcome.output.endswith("\nNothing is missing.\n")
    assert "not checked" not in outcome.output


@pytest.mark.parametrize(
    ("old", "new", "check", "fix"),
    [
        ("import alembic_enterprise.plugin", "", "plugin", "add to env.py: import"),
        (
            ', "alembic_enterprise.*"',
            "",
            "autogenerate",
            'write autogenerate_plugins=["alembic.autogenerate.*", "alembic_enterprise.*"]',
        ),
        ('"alembic.autogenerate.*", ', "", "autogenerate", "write autogenerate_plugins="),
        ("target_metadata=MetaData(),", "", "metadata", "write target_metadata = "),
        ("engine.connect()", "engine.begin()", "transaction", "connect() instead of begin()"),
        (
            "    context.configure(\n",
            '    connection.exec_driver_sql("SELECT 1")\n    context.configure(\n',
            "transaction",
            "connection.commit()",
        ),
    ],
)
def test_what_env_lacks_is_told_with_its_fix(
    doctor: Callable[..., Outcome], env: Path, old: str, new: str, check: str, fix: str
) -> None:
    change(env, old, new)
    found = missing(doctor("--format", "json"))
    assert list(found) == [check]
    assert fix in found[check]


@pytest.mark.parametrize(
    ("old", "new", "check", "fix"),
    [
        ("transaction_per_migration=True,", "", "per_migration", "transaction_per_migration=True"),
        ("SET lock_timeout = '5s'", "SELECT 1", "lock_timeout", "SET lock_timeout = '5s'"),
    ],
)
def test_what_both_calls_of_env_lack_is_told_of_both(
    doctor: Callable[..., Outcome], env: Path, old: str, new: str, check: str, fix: str
) -> None:
    change(env, old, new)
    found = missing(doctor("--format", "json"))
    assert sorted(found) == sorted([check, "offline"])
    assert fix in found[check]
    assert fix in found["offline"]


def offline(env: Path) -> None:
    env.write_text(ENV.partition("engine =")[0] + OFFLINE)


def test_what_is_written_offline_is_looked_at(doctor: Callable[..., Outcome], env: Path) -> None:
    offline(env)
    outcome = doctor()
    assert (outcome.code, outcome.error) == (1, "")
    assert outcome.output.count("missing  ") == 1
    text = " ".join(outcome.output.split())
    told = "`alembic upgrade --sql` writes one transaction for all migrations, and no lock_timeout"
    assert told in text
    assert (
        "-> in env.py, where it runs offline, too: transaction_per_migration=True in "
        "context.configure(), and context.execute(\"SET lock_timeout = '5s'\") after "
        "context.begin_transaction()"
    ) in text
    assert text.endswith("1 missing. Apply what follows each arrow and run doctor again.")


def test_a_lock_timeout_of_the_role_counts_offline(
    doctor: Callable[..., Outcome], env: Path, engine: Engine
) -> None:
    """Of the database, as it is here: psql has it, too."""
    offline(env)
    execute(engine, f"ALTER DATABASE {engine.url.database} SET lock_timeout = '3s'")
    fix = missing(doctor("--format", "json"))["offline"]
    assert "transaction_per_migration" in fix
    assert "lock_timeout" not in fix


def test_an_option_of_the_connection_does_not_count_offline(
    doctor: Callable[..., Outcome], env: Path
) -> None:
    offline(env)
    option = "connect_args={'options': '-c lock_timeout=3s'}, poolclass"
    text = env.read_text().replace("poolclass", option)
    env.write_text(text.replace("SET lock_timeout = '5s'", "SELECT 1"))
    assert list(found := missing(doctor("--format", "json"))) == ["offline"]
    assert "lock_timeout" in found["offline"]


def test_an_env_that_cannot_write_sql(doctor: Callable[..., Outcome], env: Path) -> None:
    change(env, "engine =", "assert not context.is_offline_mode()\nengine =")
    outcome = doctor()
    assert (outcome.code, outcome.error) == (0, "")
    assert (
        "not checked  what `alembic upgrade --sql` writes: env.py fails with it" in outcome.output
    )
    assert outcome.output.endswith("\nNothing is missing of what was checked.\n")


def test_without_a_server_the_rest_is_told(
    doctor: Callable[..., Outcome], env: Path, tmp_path: Path
) -> None:
    offline(env)
    env.write_text(env.read_text().replace("import alembic_enterprise.plugin", ""))
    ini = tmp_path / "alembic.ini"
    url = "postgresql+psycopg://nobody@127.0.0.1:1/nowhere"
    ini.write_text(f"[alembic]\nscript_location = .\npath_separator = os\nsqlalchemy.url = {url}\n")
    outcome = doctor()
    assert outcome.code == 1
    assert outcome.error.startswith("Error: connection failed")
    assert outcome.output.startswith("No connection\n\nok           Python ")
    assert "missing      env.py does not import alembic_enterprise.plugin\n" in outcome.output
    text = " ".join(outcome.output.split())
    assert "`alembic upgrade --sql` writes one transaction for all migrations ->" in text
    assert "mend the error that ends this" in text
    rows = json.loads(doctor("--format", "json").output)["checks"]
    assert [row["check"] for row in rows if row["state"] != "ok"] == ["server", "plugin", "offline"]


@pytest.mark.parametrize(
    ("schema", "options", "expected"),
    [
        ("billing", "", ["include_schemas"]),
        ("billing", "include_schemas=True,", []),
        ("public", "", []),  # Alembic takes the default schema for none
    ],
)
def test_models_in_another_schema_need_include_schemas(
    doctor: Callable[..., Outcome], env: Path, schema: str, options: str, expected: list[str]
) -> None:
    models = f'Table("invoices", MetaData(), schema="{schema}").metadata, {options}'
    change(env, "target_metadata=MetaData(),", f"target_metadata={models}")
    env.write_text("from sqlalchemy import Table\n" + env.read_text())
    assert list(missing(doctor("--format", "json"))) == expected


def test_a_session_setting_is_no_open_transaction(
    doctor: Callable[..., Outcome], env: Path
) -> None:
    before = "    context.configure(\n"
    committed = '    connection.exec_driver_sql("SELECT 1")\n    connection.commit()\n'
    change(env, before, committed + before)
    assert missing(doctor("--format", "json")) == {}


def test_text_tells_the_fix_and_exits_with_1(doctor: Callable[..., Outcome], env: Path) -> None:
    change(env, "import alembic_enterprise.plugin")
    outcome = doctor()
    assert outcome.code == 1
    assert (
        "missing      env.py does not import alembic_enterprise.plugin\n"
        "             -> add to env.py: import alembic_enterprise.plugin  # noqa: F401\n"
    ) in outcome.output
    assert "1 missing. Apply what follows each arrow" in outcome.output


def test_with_a_url_it_says_what_was_not_checked(
    doctor: Callable[..., Outcome], database_url: str
) -> None:
    outcome = doctor("--url", database_url)
    assert outcome.code == 0
    assert (
        "not checked  env.py: plugin, autogenerate_plugins, target_metadata, schemas,\n"
        "             transactions\n"
        "             -> run this without --url, in the project's folder\n"
    ) in outcome.output


def test_a_lock_timeout_of_the_role_counts(
    doctor: Callable[..., Outcome], database_url: str
) -> None:
    url = f"{database_url}&options=-c%20lock_timeout%3D7s"
    assert "lock_timeout is 7s" in doctor("--url", url).output


def test_a_role_that_may_not_create_is_told(
    doctor: Callable[..., Outcome], engine: Engine, database_url: str, new_role: Callable[..., str]
) -> None:
    role = new_role()
    execute(engine, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = f"{database_url}&options=-c%20role%3D{role}"
    found = missing(doctor("--format", "json", "--url", url))
    assert found == {"schemas": f'GRANT CREATE ON SCHEMA "public" TO "{role}"'}


def test_who_may_create_functions_in_the_search_path_is_told(
    doctor: Callable[..., Outcome], engine: Engine, database_url: str, new_role: Callable[..., str]
) -> None:
    stranger, group, colleague = new_role(), new_role(), new_role()
    execute(
        engine,
        "CREATE SCHEMA apart;\n"
        "CREATE SCHEMA sales;\n"
        "GRANT CREATE ON SCHEMA public TO PUBLIC;\n"
        f"GRANT CREATE ON SCHEMA apart TO {stranger};\n"
        f"GRANT CREATE ON SCHEMA sales TO {stranger}, {group}, {colleague};\n"
        f"ALTER ROLE {stranger} LOGIN;\n"
        f"ALTER ROLE {colleague} LOGIN SUPERUSER",
    )
    url = f"{database_url}&options=-c%20search_path%3Dsales,public"
    found = missing(doctor("--format", "json", "--url", url))
    assert found == {
        "search_path": 'REVOKE CREATE ON SCHEMA "public" FROM PUBLIC; '
        f'REVOKE CREATE ON SCHEMA "sales" FROM "{stranger}"'
    }
    execute(engine, found["search_path"])
    execute(engine, f"GRANT {group} TO {stranger}")
    found = missing(doctor("--format", "json", "--url", url))
    assert found == {"search_path": f'REVOKE CREATE ON SCHEMA "sales" FROM "{group}"'}
    execute(engine, found["search_path"])
    assert missing(doctor("--format", "json", "--url", url)) == {}


@pytest.mark.parametrize(
    "default", ["default_transaction_read_only=on", "default_transaction_isolation=serializable"]
)
def test_defaults_that_keep_migrations_from_their_work_are_told(
    doctor: Callable[..., Outcome], database_url: str, default: str
) -> None:
    name, _, _ = default.partition("=")
    found = missing(doctor("--format", "json", "--url", f"{database_url}&options=-c%20{default}"))
    assert name in found["defaults"]


def test_a_role_that_does_not_own_a_table_is_told(
    doctor: Callable[..., Outcome], engine: Engine, database_url: str, role: str
) -> None:
    managed(engine)
    url = f"{database_url}&options=-c%20role%3D{role}"
    found = missing(doctor("--format", "json", "--url", url))
    assert found.pop("clock").startswith("ALTER DATABASE ... RESET alembic_enterprise.now")
    assert found == {
        "owners": "connect as the role that owns the tables, or "
        f'GRANT SELECT ON "public".alembic_enterprise_policy TO "{role}"'
    }
    execute(engine, f"GRANT SELECT ON alembic_enterprise_policy TO {role}")
    found = missing(doctor("--format", "json", "--url", url))
    assert found.keys() == {"clock", "owners"}
    assert found["owners"] == f'connect as the owner, or GRANT "postgres" TO "{role}"'


def test_an_owner_who_may_not_create_beside_the_table_is_told(
    doctor: Callable[..., Outcome],
    engine: Engine,
    database_url: str,
    role: str,
    new_role: Callable[..., str],
) -> None:
    """The job gives him each partition that it creates."""
    owner = new_role()
    managed(engine)
    execute(engine, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    execute(engine, f"ALTER TABLE events OWNER TO {owner}")
    execute(engine, f"ALTER TABLE alembic_enterprise_policy OWNER TO {owner}")
    execute(engine, f"GRANT {owner} TO {role}")
    url = f"{database_url}&options=-c%20role%3D{role}"
    told = missing(doctor("--format", "json", "--url", url))
    assert told.keys() == {"clock", "schemas"}
    assert told["schemas"] == f'GRANT CREATE ON SCHEMA "public" TO "{owner}"'
    execute(engine, told["schemas"])
    assert missing(doctor("--format", "json", "--url", url)).keys() == {"clock"}


def test_a_schema_that_may_not_be_used_is_told(
    doctor: Callable[..., Outcome], engine: Engine, database_url: str, role: str
) -> None:
    managed(engine)
    execute(engine, 'CREATE SCHEMA "Mixed Case"')
    for name in ("events", "alembic_enterprise_policy"):
        execute(engine, f'ALTER TABLE {name} SET SCHEMA "Mixed Case"')
    url = f"{database_url}&options=-c%20role%3D{role}"
    fix = missing(doctor("--format", "json", "--url", url))["owners"]
    _, *grants = fix.replace(" or ", "; ").split("; ")
    assert grants == [
        f'GRANT USAGE ON SCHEMA "Mixed Case" TO "{role}"',
        f'GRANT SELECT ON "Mixed Case".alembic_enterprise_policy TO "{role}"',
    ]
    execute(engine, grants[1])
    assert grants[0] in missing(doctor("--format", "json", "--url", url))["owners"]
    execute(engine, grants[0])
    assert "GRANT SELECT" not in missing(doctor("--format", "json", "--url", url))["owners"]


def test_a_declared_table_has_to_be_owned_before_it_has_a_policy(
    doctor: Callable[..., Outcome], env: Path, engine: Engine, role: str
) -> None:
    execute(engine, "CREATE TABLE events (at timestamptz NOT NULL) PARTITION BY RANGE (at)")
    models = (
        "metadata = MetaData()\n"
        "from alembic_enterprise import RangePartitions\n"
        "from sqlalchemy import Column, DateTime, Table\n"
        "at = Column('at', DateTime(timezone=True), nullable=False)\n"
        "Table('events', metadata, at, RangePartitions('at', every='month'))\n"
        "\n"
        "engine ="
    )
    text = ENV.replace("engine =", models, 1).replace("=MetaData(),", "=[metadata],")
    env.write_text(text.replace("lock_timeout = '5s'", f"ROLE {role}"))
    env.write_text(
        text.replace("poolclass", f"connect_args={{'options': '-c role={role}'}}, poolclass")
    )
    found = missing(doctor("--format", "json"))
    assert found == {"owners": f'connect as the owner, or GRANT "postgres" TO "{role}"'}


@pytest.mark.parametrize(
    ("before", "statement"),
    [
        ("    context.configure(\n", "    connection.exec_driver_sql('CREATE TABLE t ()')\n"),
        ("        context.run_migrations()\n", "        context.execute('CREATE TABLE t ()')\n"),
    ],
)
def test_nothing_is_changed(
    doctor: Callable[..., Outcome], env: Path, engine: Engine, before: str, statement: str
) -> None:
    """Not even what env.py itself does in the transaction of the first migration."""
    change(env, before, statement + before)
    assert "Database" in doctor().output
    with engine.connect() as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        assert connection.exec_driver_sql(query).all() == []


def test_output_of_env_does_not_get_into_the_json(
    doctor: Callable[..., Outcome], env: Path
) -> None:
    change(env, "engine =", "print('hello from env.py')\nengine =")
    outcome = doctor("--format", "json")
    assert missing(outcome) == {}
    assert outcome.error == "hello from env.py\n"


def test_an_error_of_env_is_told_with_its_place(doctor: Callable[..., Outcome], env: Path) -> None:
    change(env, "import alembic_enterprise.plugin", "import nowhere")
    outcome = doctor()
    assert outcome.code == 1
    assert outcome.error.startswith("Error: ")
    assert "env.py, line 2: ModuleNotFoundError: No module named 'nowhere'" in outcome.error
    assert len(outcome.error.splitlines()) == 1


def test_an_x_argument_reaches_env(doctor: Callable[..., Outcome], env: Path) -> None:
    change(env, "engine =", "assert context.get_x_argument() == ['a=b', 'c']\nengine =")
    assert doctor("-x", "a=b", "-x", "c").code == 0


def test_a_section_of_the_ini_can_be_named(
    doctor: Callable[..., Outcome], env: Path, tmp_path: Path
) -> None:
    assert env.exists()
    ini = tmp_path / "alembic.ini"
    ini.write_text(ini.read_text().replace("[alembic]", "[production]"))
    assert doctor("-n", "production").code == 0
    outcome = doctor()
    assert outcome.code == 1
    assert "has no section [alembic]: give -n" in outcome.error


def test_a_password_in_the_ini_is_never_shown(
    doctor: Callable[..., Outcome], env: Path, tmp_path: Path
) -> None:
    assert env.exists()
    ini = tmp_path / "alembic.ini"
    template = "[alembic]\nscript_location = .\nsqlalchemy.url = {}\n"
    for url in (
        "postgresql+psycopg://somebody:s3%%40s3cret@127.0.0.1:1/d",
        "postgresql+psycopg://somebody:s3@s3cret@127.0.0.1:1/d",
        "postgresql+psycopg://somebody:s3%s3cret@127.0.0.1:1/d",
        "postgresql+psycopg://somebody:x@127.0.0.1:s3cret@/d",
        "driver://somebody:s3cret@127.0.0.1:1/d",
    ):
        ini.write_text(template.format(url))
        outcome = doctor()
        assert outcome.code == 1
        assert "s3cret" not in outcome.output + outcome.error
        assert len(outcome.error.splitlines()) == 1
        assert outcome.error.startswith("Error: ")


def test_a_driver_that_is_not_installed_is_told(program: Callable[..., Outcome], env: Path) -> None:
    change(env, "engine =", "import sys\nsys.modules['psycopg2'] = None\nimport psycopg2\nengine =")
    assert "write the URL as postgresql+psycopg://" in program("doctor").error


def test_two_databases_in_one_env_are_refused(doctor: Callable[..., Outcome], env: Path) -> None:
    change(
        env, "        context.run_migrations()", "        for _ in '12': context.run_migrations()"
    )
    assert "ran context.run_migrations() 2 times" in doctor().error
