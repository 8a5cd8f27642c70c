"""Pieces of PL/pgSQL that refuse to split or merge shards where something would be lost by it.

New shards are made as the table says, so what a single shard has of its own goes with it. What else
depends on a shard, such as a view, stops the DROP.
"""

from psycopg.sql import SQL, Composable, Composed, Literal

from alembic_enterprise.sql import REFUSED

# Where it was put into another tablespace than a new one would be.
_MOVED = SQL("""{own}.reltablespace NOT IN (0, coalesce(nullif({above}.reltablespace, 0),
                    (SELECT oid FROM pg_catalog.pg_tablespace
                     WHERE spcname = current_setting('default_tablespace')), 0))""")

_OF_TABLE = SQL("""
            SELECT thing FROM pg_catalog.pg_class AS own, LATERAL (VALUES
                ('storage parameters ' || array_to_string(reloptions, ', '),
                 array_to_string(reloptions, ', ') <> coalesce(storage_parameters, '')),
                ('storage parameters of TOAST', EXISTS (
                    SELECT FROM pg_catalog.pg_class
                    WHERE oid = own.reltoastrelid AND reloptions IS NOT NULL)),
                ('tablespace ' || (SELECT quote_ident(spcname) FROM pg_catalog.pg_tablespace
                                   WHERE oid = reltablespace), {moved}),
                (CASE relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END,
                 relpersistence <> table_row.relpersistence),
                ('row security', relrowsecurity AND NOT table_row.relrowsecurity
                                 OR relforcerowsecurity AND NOT table_row.relforcerowsecurity),
                ('replica identity', relreplident NOT IN ('d', table_row.relreplident)))
                AS things (thing, is_own)
            WHERE own.oid = relation AND is_own""").format(
    moved=_MOVED.format(own=SQL("own"), above=SQL("table_row"))
)

_OF_COLUMNS = SQL("""
            SELECT setting || ' of ' || quote_ident(own.attname)
            FROM pg_catalog.pg_attribute AS own
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = parent AND a.attname = own.attname
            LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = relation AND d.adnum = own.attnum
            LEFT JOIN pg_catalog.pg_attrdef AS b ON b.adrelid = parent AND b.adnum = a.attnum,
            LATERAL (VALUES
                ('NOT NULL', own.attnotnull AND NOT a.attnotnull),
                ('default', pg_get_expr(d.adbin, d.adrelid)
                            <> coalesce(pg_get_expr(b.adbin, b.adrelid), '')),
                ('SET STATISTICS', own.attstattarget >= 0
                                   AND own.attstattarget IS DISTINCT FROM a.attstattarget),
                ('options', own.attoptions <> coalesce(a.attoptions, '{}')),
                ('storage', own.attstorage <> a.attstorage),
                ('compression', own.attcompression <> a.attcompression))
                AS settings (setting, is_own)
            WHERE own.attrelid = relation AND own.attnum > 0 AND NOT own.attisdropped AND is_own""")

_OF_INDEXES = SQL("""
            SELECT setting || 'index ' || quote_ident(own.relname)
            FROM pg_catalog.pg_index AS x
            JOIN pg_catalog.pg_class AS own ON own.oid = x.indexrelid
            LEFT JOIN pg_catalog.pg_inherits ON inhrelid = own.oid
            LEFT JOIN pg_catalog.pg_class AS above ON above.oid = inhparent,
            LATERAL (VALUES
                ('', NOT own.relispartition),
                ('storage parameters of ', own.reloptions <> coalesce(above.reloptions, '{{}}')),
                ('SET STATISTICS of ', EXISTS (
                    SELECT FROM pg_catalog.pg_attribute AS a
                    LEFT JOIN pg_catalog.pg_attribute AS b
                           ON b.attrelid = above.oid AND b.attnum = a.attnum
                    WHERE a.attrelid = own.oid AND a.attstattarget >= 0
                      AND a.attstattarget IS DISTINCT FROM b.attstattarget)),
                ('tablespace of ', {moved})) AS settings (setting, is_own)
            WHERE x.indrelid = relation AND is_own""").format(
    moved=_MOVED.format(own=SQL("own"), above=SQL("above"))
)

_OF_OTHERS = SQL("""
            SELECT 'constraint ' || quote_ident(conname) FROM pg_catalog.pg_constraint
            WHERE conrelid = relation AND contype IN ('c', 'f')
              AND conparentid = 0 AND coninhcount = 0
            UNION ALL
            SELECT 'trigger ' || quote_ident(tgname) FROM pg_catalog.pg_trigger
            WHERE tgrelid = relation AND NOT tgisinternal AND tgparentid = 0
              AND starts_with(obj_description(oid, 'pg_trigger'), ownership || 'on each partition')
                  IS NOT TRUE  -- as triggers.COPY copies them
            UNION ALL
            SELECT 'ENABLE or DISABLE of trigger ' || quote_ident(t.tgname)
            FROM pg_catalog.pg_trigger AS t
            JOIN pg_catalog.pg_trigger AS above ON above.oid = t.tgparentid
            WHERE t.tgrelid = relation AND t.tgenabled <> above.tgenabled AND t.tgconstraint = 0
            UNION ALL
            SELECT 'rule ' || quote_ident(rulename) FROM pg_catalog.pg_rewrite
            WHERE ev_class = relation
            UNION ALL
            SELECT 'policy ' || quote_ident(polname) FROM pg_catalog.pg_policy
            WHERE polrelid = relation
            UNION ALL
            SELECT 'publication ' || quote_ident(pubname) FROM pg_catalog.pg_publication_rel
            JOIN pg_catalog.pg_publication AS p ON p.oid = prpubid WHERE prrelid = relation""")

_ACLS = SQL("""(SELECT relacl AS acl, NULL AS attname FROM pg_catalog.pg_class
                  WHERE oid = {oid}
                  UNION ALL
                  SELECT attacl, attname FROM pg_catalog.pg_attribute WHERE attrelid = {oid})""")

_GRANTS = SQL("""\
SELECT format('grant of %s%s to %s', privilege_type, ' (' || quote_ident(attname) || ')',
                          CASE grantee WHEN 0 THEN 'public' ELSE grantee::regrole::text END)
            FROM {acls} AS sources, aclexplode(acl)
            WHERE grantee <> table_row.relowner""")

_EXTENDED = SQL("""SELECT *, row_number() OVER (PARTITION BY definition ORDER BY oid) AS number
            FROM (SELECT oid, stxname, stxnamespace, greatest(stxstattarget, -1) AS sampled,
                         format('(%s) of %s', array_to_string(stxkind, ', '), concat_ws(', ',
                             (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname)
                              FROM pg_catalog.pg_attribute
                              WHERE attrelid = stxrelid AND attnum = ANY (stxkeys::int2[])),
                             array_to_string(pg_get_statisticsobjdef_expressions(oid), ', ')))
                             AS definition
                  FROM pg_catalog.pg_statistic_ext WHERE stxrelid = {relation}) AS extended""")


def statistics(relation: Composable) -> Composed:
    """A query: the extended statistics of a relation, by what they are of and not by their names.

    `number` tells those apart that are of the same; `sampled` is the target, -1 where none is set.
    """
    return _EXTENDED.format(relation=relation)


# The target apart, as a shard needs none where its table has one.
_STATISTICS = SQL("""\
SELECT setting || 'statistics ' || definition FROM ({extended}) AS extended, LATERAL (VALUES
                (''), ('SET STATISTICS ' || nullif(sampled, -1) || ' of ')) AS settings (setting)
            WHERE setting IS NOT NULL""")

_RELATION, _PARENT = SQL("relation"), SQL("parent")

_THINGS = SQL("""{of_table}
            UNION ALL{of_columns}
            UNION ALL{of_indexes}
            UNION ALL{of_others}
            UNION ALL
            ({grants}
            EXCEPT {grants_of_table})
            UNION ALL
            ({statistics}
            EXCEPT {statistics_of_table})""").format(
    of_table=_OF_TABLE,
    of_columns=_OF_COLUMNS,
    of_indexes=_OF_INDEXES,
    of_others=_OF_OTHERS,
    grants=_GRANTS.format(acls=_ACLS.format(oid=_RELATION)),
    grants_of_table=_GRANTS.format(acls=_ACLS.format(oid=_PARENT)),
    statistics=_STATISTICS.format(extended=statistics(_RELATION)),
    statistics_of_table=_STATISTICS.format(extended=statistics(_PARENT)),
)
"""A query: what the shard `relation` has, and a new one of `parent` would not have."""

_REFUSE_TO_LOSE = SQL("""    SELECT relation, thing INTO shard, label
    FROM {shards}, LATERAL ({things}) AS things (thing)
    ORDER BY relation::oid::bigint, thing LIMIT 1;
    IF label IS NOT NULL THEN
        RAISE EXCEPTION '%: its shard % has % of its own, which the shards in its place would not '
            'have: give it to the table, or take it away, first%', parent, shard, label,
            CASE WHEN growing THEN '; or run `alembic-enterprise shards grow` instead' ELSE '' END
            USING ERRCODE = {refused};
    END IF;
    SELECT quote_ident(conname) AS name, conrelid::regclass AS relation INTO foreign_key
    FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_trigger AS t ON tgconstraint = k.oid
    WHERE contype = 'f' AND tgenabled <> 'O' AND (
        confrelid = parent AND conparentid = 0
        OR conrelid IN (SELECT relation FROM {shards}))
    ORDER BY k.oid::bigint LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%: triggers of the foreign key % of % are disabled, and those of the key '
            'in its place would not be: ALTER TABLE % ENABLE TRIGGER ALL first', parent,
            foreign_key.name, foreign_key.relation, foreign_key.relation
            USING ERRCODE = {refused};
    END IF;
    SELECT min(quote_ident(subname)) INTO label FROM pg_catalog.pg_subscription_rel
    JOIN pg_catalog.pg_subscription AS s ON s.oid = srsubid AND subdbid =
        (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    WHERE srrelid IN (SELECT relation FROM {shards});
    IF label IS NOT NULL THEN
        RAISE EXCEPTION '%: the subscription % writes to each shard by its name, and would '
            'silently pass over all changes of those in its place: while nobody writes on the '
            'publisher, and all is applied here, ALTER PUBLICATION ... SET '
            '(publish_via_partition_root) there, and REFRESH PUBLICATION WITH (copy_data = false) '
            'of SUBSCRIPTION % here', parent, label, label
            USING ERRCODE = {refused};
    END IF;
""")


def refuse_to_lose(changes: Composable) -> Composed:
    """Refuses to replace shards that have what those in their place would not have.

    `changes` is a query of arrays of `shards`. Needs `shard`, `foreign_key` and `growing`, and what
    `pieces.TEMPLATE` and `pieces.STORAGE` look at.
    """
    shards = SQL("(SELECT unnest(shards) AS relation FROM {}) AS changing").format(changes)
    return _REFUSE_TO_LOSE.format(shards=shards, things=_THINGS, refused=Literal(REFUSED))


SETTINGS = SQL("""
            SELECT format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', child, attname,
                          attstattarget)
            FROM pg_catalog.pg_attribute
            WHERE attrelid = parent AND attnum > 0 AND attstattarget >= 0 AND NOT attisdropped
            UNION ALL
            SELECT format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', child, attname,
                          array_to_string(attoptions, ', '))
            FROM pg_catalog.pg_attribute
            WHERE attrelid = parent AND attoptions IS NOT NULL AND NOT attisdropped
            UNION ALL
            SELECT format('ALTER STATISTICS %I.%I SET STATISTICS %s', nspname, own.stxname,
                          above.sampled)
            FROM ({of_parent}) AS above JOIN ({of_child}) AS own USING (definition, number)
            JOIN pg_catalog.pg_namespace AS n ON n.oid = own.stxnamespace
            WHERE above.sampled >= 0""").format(
    of_parent=statistics(_PARENT), of_child=statistics(SQL("child::regclass"))
)
"""A query: the commands that give `child` the settings of columns and of extended statistics that
LIKE leaves behind."""

INDEX_SETTINGS = SQL("""
            SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s',
                          part.indexrelid::regclass, a.attnum, a.attstattarget)
            FROM pg_catalog.pg_index AS x
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = x.indexrelid AND a.attstattarget >= 0
            JOIN pg_catalog.pg_inherits AS i ON i.inhparent = x.indexrelid
            JOIN pg_catalog.pg_index AS part ON part.indexrelid = i.inhrelid
            WHERE x.indrelid = parent AND part.indrelid = child::regclass""")
"""A query: the commands that give the indexes of `child`, which came with ATTACH, those of `parent`
that it leaves behind."""
