"""Pieces of PL/pgSQL that refuse to split or merge shards where something would be lost by it.

New shards are made as the table says, so what a single shard has of its own goes with it. What else
depends on a shard, such as a view, stops the DROP.
"""

from typing import LiteralString


def _grants(relation: LiteralString) -> LiteralString:
    return (
        """SELECT format('grant of %s%s to %s', privilege_type, ' (' || quote_ident(attname) || ')',
                          CASE grantee WHEN 0 THEN 'public' ELSE grantee::regrole::text END)
            FROM (SELECT relacl AS acl, NULL AS attname FROM pg_catalog.pg_class
                  WHERE oid = """
        + relation
        + """
                  UNION ALL
                  SELECT attacl, attname FROM pg_catalog.pg_attribute WHERE attrelid = """
        + relation
        + """) AS sources, aclexplode(acl)
            WHERE grantee <> table_row.relowner"""
    )


def _statistics(relation: LiteralString) -> LiteralString:
    """The extended statistics of a relation, by what they are of and not by their names."""
    return (
        """SELECT format('statistics (%s) of %s', array_to_string(stxkind, ', '), concat_ws(', ',
                (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname)
                 FROM pg_catalog.pg_attribute
                 WHERE attrelid = stxrelid AND attnum = ANY (stxkeys::int2[])),
                array_to_string(pg_get_statisticsobjdef_expressions(oid), ', ')))
            FROM pg_catalog.pg_statistic_ext WHERE stxrelid = """
        + relation
    )


def _moved(own: LiteralString, above: LiteralString) -> LiteralString:
    """The condition that a relation was put into another tablespace than a new one would be."""
    return (
        own
        + ".reltablespace NOT IN (0, coalesce(nullif("
        + above
        + """.reltablespace, 0),
                    (SELECT oid FROM pg_catalog.pg_tablespace
                     WHERE spcname = current_setting('default_tablespace')), 0))"""
    )


_OF_TABLE: LiteralString = (
    """
            SELECT thing FROM pg_catalog.pg_class AS own, LATERAL (VALUES
                ('storage parameters ' || array_to_string(reloptions, ', '),
                 array_to_string(reloptions, ', ') <> coalesce(storage_parameters, '')),
                ('storage parameters of TOAST', EXISTS (
                    SELECT FROM pg_catalog.pg_class
                    WHERE oid = own.reltoastrelid AND reloptions IS NOT NULL)),
                ('tablespace ' || (SELECT quote_ident(spcname) FROM pg_catalog.pg_tablespace
                                   WHERE oid = reltablespace), """
    + _moved("own", "table_row")
    + """),
                (CASE relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END,
                 relpersistence <> table_row.relpersistence),
                ('row security', relrowsecurity AND NOT table_row.relrowsecurity
                                 OR relforcerowsecurity AND NOT table_row.relforcerowsecurity),
                ('replica identity', relreplident NOT IN ('d', table_row.relreplident)))
                AS things (thing, is_own)
            WHERE own.oid = relation AND is_own"""
)

_OF_COLUMNS: LiteralString = """
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
                ('options', own.attoptions <> coalesce(a.attoptions, '{{}}')),
                ('storage', own.attstorage <> a.attstorage),
                ('compression', own.attcompression <> a.attcompression))
                AS settings (setting, is_own)
            WHERE own.attrelid = relation AND own.attnum > 0 AND NOT own.attisdropped AND is_own"""

_OF_INDEXES: LiteralString = (
    """
            SELECT setting || 'index ' || quote_ident(own.relname)
            FROM pg_catalog.pg_index AS x
            JOIN pg_catalog.pg_class AS own ON own.oid = x.indexrelid
            LEFT JOIN pg_catalog.pg_inherits ON inhrelid = own.oid
            LEFT JOIN pg_catalog.pg_class AS above ON above.oid = inhparent,
            LATERAL (VALUES
                ('', NOT own.relispartition),
                ('storage parameters of ', own.reloptions <> coalesce(above.reloptions, '{{}}')),
                ('tablespace of ', """
    + _moved("own", "above")
    + """)) AS settings (setting, is_own)
            WHERE x.indrelid = relation AND is_own"""
)

_OF_OTHERS: LiteralString = """
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
            JOIN pg_catalog.pg_publication AS p ON p.oid = prpubid WHERE prrelid = relation"""

_UNION: LiteralString = """
            UNION ALL"""


def refuse_to_lose(changes: LiteralString) -> LiteralString:
    """Refuses to replace shards that have what those in their place would not have.

    `changes` is a query of arrays of `shards`. Needs `shard`, `foreign_key` and `growing`, and what
    `pieces.TEMPLATE` and `pieces.STORAGE` look at.
    """
    shards: LiteralString = "(SELECT unnest(shards) AS relation FROM " + changes + ") AS changing"
    return (
        """
    SELECT relation, thing INTO shard, label
    FROM """
        + shards
        + ", LATERAL ("
        + _UNION.join([_OF_TABLE, _OF_COLUMNS, _OF_INDEXES, _OF_OTHERS])
        + _UNION
        + """
            ("""
        + _grants("relation")
        + """
            EXCEPT """
        + _grants("parent")
        + """)
            UNION ALL
            ("""
        + _statistics("relation")
        + """
            EXCEPT """
        + _statistics("parent")
        + """)) AS things (thing)
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
        OR conrelid IN (SELECT relation FROM """
        + shards
        + """))
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
    WHERE srrelid IN (SELECT relation FROM """
        + shards
        + """);
    IF label IS NOT NULL THEN
        RAISE EXCEPTION '%: the subscription % writes to each shard by its name, and would '
            'silently pass over all changes of those in its place: while nobody writes on the '
            'publisher, and all is applied here, ALTER PUBLICATION ... SET '
            '(publish_via_partition_root) there, and REFRESH PUBLICATION WITH (copy_data = false) '
            'of SUBSCRIPTION % here', parent, label, label
            USING ERRCODE = {refused};
    END IF;
"""
    )


COLUMN_SETTINGS: LiteralString = """
            SELECT format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', child, attname,
                          attstattarget)
            FROM pg_catalog.pg_attribute
            WHERE attrelid = parent AND attnum > 0 AND attstattarget >= 0 AND NOT attisdropped
            UNION ALL
            SELECT format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', child, attname,
                          array_to_string(attoptions, ', '))
            FROM pg_catalog.pg_attribute
            WHERE attrelid = parent AND attoptions IS NOT NULL AND NOT attisdropped"""
"""A query: the commands that give `child` the settings of columns that LIKE leaves behind."""
