"""What a trail refuses before anything is made or dropped, as pieces of PL/pgSQL.

Each is one line that names the next step. They find the table in `root` and the name of its history
in `history`.
"""

from typing import LiteralString

TABLE: LiteralString = """
    SELECT min(format(message, name)) INTO problem FROM (
        SELECT 'it is a partition: give the trail to %s, it sees all its partitions',
               pg_partition_root(root)::text
        FROM pg_catalog.pg_class WHERE oid = root AND relispartition
        UNION ALL
        SELECT 'its history needs a primary key to tell rows apart: ADD PRIMARY KEY (...) first',
               NULL
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = root AND indisprimary)
        UNION ALL
        SELECT 'the names of the history''s own columns begin with audit_: rename its column %I',
               attname
        FROM pg_catalog.pg_attribute
        WHERE attrelid = root AND attnum > 0 AND NOT attisdropped AND starts_with(attname, 'audit_')
          AND NOT without || (trail -> 'exclude') ? attname
        UNION ALL
        SELECT 'it has no column %I: correct exclude=, mask= and hash=', name
        FROM jsonb_array_elements_text(
            (trail -> 'exclude') || (trail -> 'mask') || (trail -> 'hash')) AS name
        WHERE NOT without ? name AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute
            WHERE attrelid = root AND attname = name AND attnum > 0 AND NOT attisdropped)
        UNION ALL
        SELECT '%I is of its primary key: take it out of exclude=, mask= and hash=', attname
        FROM pg_catalog.pg_index JOIN pg_catalog.pg_attribute
            ON attrelid = indrelid AND attnum = ANY (indkey[0:indnkeyatts - 1])
        WHERE indrelid = root AND indisprimary
          AND (trail -> 'exclude') || (trail -> 'mask') || (trail -> 'hash') ? attname
        UNION ALL
        SELECT '%s', format('rows of %1$s are changed through %2$s untold: ALTER TABLE %1$s '
                            'NO INHERIT %2$s first', inhrelid::regclass, inhparent::regclass)
        FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class ON oid = inhrelid
        WHERE root IN (inhrelid, inhparent) AND NOT relispartition
        UNION ALL
        SELECT '%s', format('%1$s: there is no role %2$I: CREATE ROLE %2$I first, or correct it',
                            given, role)
        FROM (SELECT 'readers=', jsonb_array_elements_text(trail -> 'readers')
              UNION ALL SELECT 'owner=', trail ->> 'owner') AS roles (given, role)
        WHERE role IS NOT NULL AND role NOT IN (SELECT rolname FROM pg_catalog.pg_roles)
        UNION ALL
        SELECT 'a crash empties UNLOGGED tables untold: ALTER TABLE %s SET LOGGED first',
               oid::regclass::text
        FROM pg_catalog.pg_class
        WHERE relpersistence = 'u' AND relkind = 'r'
          AND (oid = root OR oid IN (SELECT relid FROM pg_partition_tree(root)))
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                          WHERE tgrelid = root AND tgfoid = to_regprocedure(history || '()'))
        UNION ALL
        SELECT 'what subscription %I applies to it fires row triggers only, so that no history of '
               'it can be kept: audit the table where it comes from', subname
        FROM pg_catalog.pg_subscription_rel
        -- A database that was copied has rows of subscriptions that are another's.
        JOIN pg_catalog.pg_subscription AS s ON s.oid = srsubid AND subdbid =
            (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        WHERE coalesce(pg_partition_root(srrelid), srrelid) = root
          -- `audit check` tells of a trail in use, which may be altered.
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                          WHERE tgrelid = root AND tgfoid = to_regprocedure(history || '()'))
        UNION ALL
        SELECT 'it has a trail in %s already: op.drop_audit_trail first',
               left(tgfoid::regprocedure::text, -2)
        FROM pg_catalog.pg_trigger
        WHERE tgrelid = root AND NOT tgisinternal
          AND tgfoid IS DISTINCT FROM to_regprocedure(history || '()')
          AND starts_with(obj_description(tgfoid, 'pg_proc'), {ownership} || '{{')
        UNION ALL
        SELECT 'there is a function %s() already that is not ours: rename it, or give the trail '
               'another history=', history
        FROM pg_catalog.pg_proc
        WHERE oid = to_regprocedure(history || '()')
          AND starts_with(obj_description(oid, 'pg_proc'), {ownership}) IS NOT TRUE
          AND starts_with(obj_description(to_regclass(history), 'pg_class'), {ownership})
              IS NOT TRUE
    ) AS problems (message, name);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: %', root, problem USING ERRCODE = {refused};
    END IF;
"""
"""A table that cannot be audited with these options, or not with this history."""

SEQUENCE: LiteralString = """
        SELECT format('there is a sequence %1$s already that belongs to %2$s: run ALTER SEQUENCE '
                      '%1$s RENAME TO ... first', oid::regclass, relowner::regrole) INTO problem
        FROM pg_catalog.pg_class AS c
        WHERE oid = to_regclass({sequence}) AND NOT pg_has_role(relowner, current_user, 'USAGE')
          AND pg_has_role(relowner, (trail ->> 'owner')::name, 'USAGE') IS NOT TRUE
          -- A trail in use, whose history is gone.
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc
                          WHERE oid = to_regprocedure(history || '()') AND proowner = c.relowner);
        IF problem IS NOT NULL THEN
            RAISE EXCEPTION '%: %', root, problem USING ERRCODE = {refused};
        END IF;
"""
"""A sequence of somebody else, called as that of the history is."""

FOREIGN_CODE: LiteralString = """
    IF EXISTS (
        SELECT FROM pg_partition_tree(history) AS part
        JOIN pg_catalog.pg_class AS c ON c.oid = part.relid
        WHERE c.relowner <> quote_ident(current_user)::regrole AND (
               EXISTS (SELECT FROM pg_catalog.pg_trigger
                       WHERE tgrelid = c.oid AND NOT tgisinternal)
               OR EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = c.oid)
               OR EXISTS (SELECT FROM pg_catalog.pg_attrdef WHERE adrelid = c.oid)
               OR EXISTS (SELECT FROM pg_catalog.pg_constraint
                          WHERE conrelid = c.oid AND contype = 'c')
               OR EXISTS (SELECT FROM pg_catalog.pg_index
                          WHERE indrelid = c.oid AND num_nulls(indexprs, indpred) < 2))
    ) THEN
        RAISE EXCEPTION '%: % has a trigger, a rule, a default, a CHECK constraint or an index on '
            'an expression, which would run with the rights of role %: drop it first', root,
            history, current_user USING ERRCODE = {refused};
    END IF;
"""
"""Something on the history that runs what its owner likes when somebody else writes there. It goes
behind what locks the history against such.
"""

RENAMED: LiteralString = """
    SELECT min(format(CASE
        WHEN NOT live.there THEN
            'it has no column %2$I: correct it, or rename it with op.alter_column before'
        WHEN live.kept_named THEN
            'its history has %1$I and %2$I: ALTER TABLE %3$s RENAME %2$I TO ... first'
        ELSE 'its history has no column %1$I: it has %4$s' END,
        former, named, history, live.kept)) INTO problem
    FROM jsonb_each_text({renamed}) AS given (former, named)
    CROSS JOIN LATERAL (
        SELECT bool_or(attrelid = root AND attname = named) AS there,
               bool_or(attrelid <> root AND attname = former) AS kept_former,
               bool_or(attrelid <> root AND attname = named) AS kept_named,
               string_agg(quote_ident(attname), ', ' ORDER BY attnum) FILTER (
                   WHERE attrelid <> root AND NOT starts_with(attname, 'audit_')) AS kept
        FROM pg_catalog.pg_attribute
        WHERE attrelid IN (root, to_regclass(history)) AND attnum > 0 AND NOT attisdropped) AS live
    -- One that has the new name only was renamed before; one without any was just made.
    WHERE NOT live.there OR live.kept_former = live.kept_named AND live.kept IS NOT NULL;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: renamed=: %', root, problem USING ERRCODE = {refused};
    END IF;
"""
"""A column renamed that the table or its history has not, or that the history has twice."""

SHARED_HISTORY: LiteralString = """
    SELECT min(coalesce(pg_partition_root(tgrelid), tgrelid::regclass)::text) INTO other
    FROM pg_catalog.pg_trigger
    WHERE tgfoid = to_regprocedure(history || '()') AND NOT tgisinternal
      AND coalesce(pg_partition_root(tgrelid), tgrelid::regclass) <> root
      -- Else it was a partition, or somebody gave it such triggers: those go.
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                      WHERE tgrelid = root AND tgfoid = to_regprocedure(history || '()'));
    IF other IS NOT NULL THEN
        RAISE EXCEPTION '%: % is the history of %: write another history=, or, where that was a '
            'partition, drop its triggers that call %() first', root, history, other, history
            USING ERRCODE = {refused};
    END IF;
"""
"""A history that the triggers of another table fill."""

FOREIGN_HISTORY: LiteralString = """
    IF coalesce(obj_description(to_regclass(history), 'pg_class'), '')
            NOT IN ({comment}, {kept_comment})
       -- Whatever somebody wrote there instead: it is ours by the function that fills it.
       AND starts_with(obj_description(to_regprocedure(history || '()'), 'pg_proc'), {ownership})
           IS NOT TRUE THEN
        RAISE EXCEPTION '%: there is a table % already that is not a history of ours: rename it, '
            'or give the trail another history=', root, history USING ERRCODE = {refused};
    END IF;
"""
"""A table of somebody else, called as the history is."""

OWNERS: LiteralString = """
    SELECT format('%1$s belongs to %2$s, who could read or drop what is kept: run ALTER %1$s '
                  'OWNER TO %3$I first, or give the trail owner=%4$L', part, owner::regrole,
                  coalesce(trail ->> 'owner', current_user), pg_get_userbyid(owner)) INTO problem
    FROM (
        SELECT format('SCHEMA %I', nspname), nspowner
        FROM pg_catalog.pg_namespace JOIN pg_catalog.pg_database ON datname = current_database()
        -- The owner of the database can drop all of it anyway.
        WHERE nspname = place AND nspowner NOT IN (datdba, 'pg_database_owner'::regrole)
        UNION ALL
        SELECT 'TABLE ' || oid::regclass, relowner
        FROM pg_catalog.pg_class WHERE oid = to_regclass(history)
        UNION ALL
        SELECT 'FUNCTION ' || oid::regprocedure, proowner
        FROM pg_catalog.pg_proc WHERE oid IN (to_regprocedure(history || '()'),
                                              to_regprocedure(history || '(regclass, text)'))
    ) AS parts (part, owner)
    WHERE NOT pg_has_role(owner, current_user, 'USAGE')
      AND pg_has_role(owner, (trail ->> 'owner')::name, 'USAGE') IS NOT TRUE
      -- A trail in use: the owner of the table let its triggers call that function.
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                      WHERE tgrelid = root AND tgfoid = to_regprocedure(history || '()'))
    LIMIT 1;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%: %', root, problem USING ERRCODE = {refused};
    END IF;
"""
"""A part of a trail to be made that belongs to neither its owner nor who migrates, nor to a role
with the rights of one of them: anybody who may create a schema can have made it in advance.
"""
