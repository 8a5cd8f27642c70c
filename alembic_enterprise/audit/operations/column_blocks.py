"""The PL/pgSQL that adds and drops audit columns, and the function that keeps them.

The blocks look at the table as it is when they run: what is there already stays as it is, but for
a default that a column lacks, so that an operation may be run again. They declare `root`, the
table, and `home`, its schema.
"""

from typing import LiteralString

TOUCH: LiteralString = "alembic_enterprise_touch"
"""Name of the trigger that keeps `updated_*`, and of its function in the schema of the table."""

TOUCH_BODY: LiteralString = """
DECLARE
    actor constant text := nullif(current_setting('alembic_enterprise.actor', true), '');
BEGIN
    NEW.updated_at := now();
    NEW.updated_by := actor;
    IF 'soft_delete' = ANY (TG_ARGV) THEN
        IF (NEW.deleted_at IS NULL) <> (OLD.deleted_at IS NULL) THEN
            NEW.deleted_by := CASE WHEN NEW.deleted_at IS NOT NULL THEN actor END;
        END IF;
    END IF;
    IF 'lineage' = ANY (TG_ARGV) THEN
        NEW.data_lineage := nullif(current_setting('alembic_enterprise.context', true), '');
    END IF;
    RETURN NEW;
END
"""
"""What the function does; the arguments of a trigger say which columns by choice there are."""

PATIENCE: LiteralString = """
    -- Who waits for such a lock holds up all that come later: here the session's timeout counts.
    PERFORM set_config('lock_timeout', current_setting('alembic_enterprise.lock_timeout'), true);"""
"""For a block outside of a transaction, where `operation.execute` has lifted the timeout."""

MAKE_TRIGGER: LiteralString = """
    SELECT nspname INTO home FROM pg_catalog.pg_namespace AS n
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid WHERE c.oid = root;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
                   WHERE p.oid = to_regprocedure(format('%I.{touch}()', home))
                     AND p.prosrc = {body} AND p.proconfig = ARRAY['search_path=""']) THEN
        EXECUTE format('CREATE OR REPLACE FUNCTION %I.{touch}() RETURNS trigger'
                       ' LANGUAGE plpgsql SET search_path = '''' AS %L', home, {body});
    END IF;
    -- After it was made: whoever makes one in between is found, too.
    SELECT proowner::regrole INTO stranger FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_class AS c ON c.oid = root
    WHERE p.oid = to_regprocedure(format('%I.{touch}()', home))
      AND NOT pg_has_role(proowner, current_user, 'USAGE')
      AND NOT pg_has_role(proowner, relowner, 'USAGE')
      -- A trigger in use: the owner of the table let it call that function.
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = root AND tgfoid = p.oid);
    IF stranger IS NOT NULL THEN
        RAISE EXCEPTION '%: FUNCTION %.{touch}() belongs to %, who could do by it whatever those '
            'may who write to the table: run ALTER FUNCTION %.{touch}() OWNER TO % first', root,
            quote_ident(home), stranger, quote_ident(home), quote_ident(current_user)
            USING ERRCODE = {refused};
    END IF;
    SELECT string_agg(quote_literal(choice), ', ' ORDER BY choice DESC) INTO arguments
    FROM (SELECT unnest({added}::text[]) UNION
          SELECT unnest(string_to_array(encode(tgargs, 'escape'), '\\000'))
          FROM pg_catalog.pg_trigger WHERE tgrelid = root AND tgname = '{touch}') AS wanted (choice)
    WHERE choice <> '' AND choice <> ALL ({removed}::text[]);
    -- Not ENABLE ALWAYS: a row that comes by replication keeps what its origin wrote.
    EXECUTE format('CREATE OR REPLACE TRIGGER {touch} BEFORE UPDATE ON %s'
                   ' FOR EACH ROW EXECUTE FUNCTION %I.{touch}(%s)', root, home, arguments);"""
"""Makes the function and the trigger what they should be, with one argument for each choice.

What the trigger has already stays: a script may add some columns and drop others in any order. A
function of somebody else is refused: he could change it after, and each writer would run it.
"""

DROP_TRIGGER: LiteralString = """
    SELECT tgfoid::regprocedure INTO touch FROM pg_catalog.pg_trigger
    WHERE tgrelid = root AND tgname = '{touch}';
    IF FOUND THEN
        EXECUTE format('DROP TRIGGER {touch} ON %s', root);
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgfoid = touch) THEN
            EXECUTE format('DROP FUNCTION %s', touch);
        END IF;
    END IF;"""

ADD_COLUMNS: LiteralString = """DECLARE
    root constant regclass := {table};
    home name;
    stranger regrole;
    arguments text;
    actions text;
BEGIN{patience}
    -- A column that is there without a default gets one: the ORM leaves it to the database.
    SELECT string_agg(concat_ws(', ',
        CASE WHEN attname IS NULL THEN format('ADD COLUMN %I %s', name, definition) END,
        CASE WHEN fallback IS NOT NULL THEN
            format('ALTER COLUMN %I SET DEFAULT %s', name, fallback) END),
        ', ' ORDER BY position) INTO actions
    FROM (VALUES
        {columns}) AS wanted (position, name, definition, fallback)
    LEFT JOIN pg_catalog.pg_attribute
        ON attrelid = root AND attname = wanted.name AND NOT attisdropped
    WHERE attname IS NULL OR (fallback IS NOT NULL AND NOT atthasdef);
    IF actions IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s %s', root, actions);
    END IF;{trigger}
END"""

DROP_COLUMNS: LiteralString = """DECLARE
    root constant regclass := {table};
    home name;
    stranger regrole;
    arguments text;
    touch regprocedure;
    actions text;
BEGIN{trigger}
    SELECT string_agg(format(CASE WHEN attname = ANY ({columns}::name[]) THEN 'DROP COLUMN %I'
                             ELSE 'ALTER COLUMN %I DROP DEFAULT' END, attname),
                      ', ' ORDER BY attnum) INTO actions
    FROM pg_catalog.pg_attribute
    WHERE attrelid = root AND NOT attisdropped
      AND attname = ANY ({columns}::name[] || {without_default}::name[]);
    IF actions IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s %s', root, actions);
    END IF;
END"""

_TREE: LiteralString = """
        WITH RECURSIVE tree AS (
            SELECT root::oid AS oid UNION ALL
            SELECT inhrelid FROM tree JOIN pg_catalog.pg_inherits ON inhparent = tree.oid)
        SELECT c.oid::regclass AS relation, a.attname AS actor, k.conname AS name
        FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
        JOIN pg_catalog.pg_attribute AS a
            ON a.attrelid = c.oid AND a.attname = ANY ({actors}::name[])
        LEFT JOIN pg_catalog.pg_constraint AS k ON k.contype = 'f' AND k.conrelid = c.oid
            AND k.conkey = ARRAY[a.attnum] AND k.confrelid = {target}::regclass"""

_BEGIN: LiteralString = """DECLARE
    root constant regclass := {table};
    found record;
BEGIN{patience}
    FOR found IN"""

# A partitioned table could not have a foreign key that is NOT VALID before PostgreSQL 18. Once each
# partition has a valid one of its own, the table's takes those over without looking at a row.
ADD_KEYS: LiteralString = (
    _BEGIN
    + _TREE
    + """
        WHERE c.relkind = 'r' AND k.oid IS NULL
    LOOP
        EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (%I) REFERENCES %s (%I) NOT VALID',
                       found.relation, found.actor, {target}::regclass, {column});
    END LOOP;
END"""
)

VALIDATE_KEYS: LiteralString = (
    _BEGIN
    + _TREE
    + """
        WHERE NOT k.convalidated
    LOOP
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', found.relation, found.name);
    END LOOP;
END"""
)

TAKE_KEYS_OVER: LiteralString = (
    _BEGIN
    + _TREE
    + """
        WHERE c.oid = root AND k.oid IS NULL
    LOOP
        EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (%I) REFERENCES %s (%I)',
                       found.relation, found.actor, {target}::regclass, {column});
    END LOOP;
END"""
)
