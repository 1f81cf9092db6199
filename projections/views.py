"""Views over tables that are about to be replaced: kept, with their rights, owner, options and comments.

PostgreSQL ties a view to a table and not to its name, so the table cannot be dropped while the view stands.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.store.database import PgCursor


class MaterializedViewInTheWay(RuntimeError):
    """A materialized view reads the tables: whoever made it decides what becomes of it."""


_DEPENDENT = """
WITH RECURSIVE dependent (oid, depth) AS (
    SELECT ev_class, 1 FROM pg_rewrite JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid
    WHERE refclassid = 'pg_class'::regclass AND refobjid = ANY (%s::regclass[]) AND ev_class <> refobjid
    UNION
    SELECT ev_class, depth + 1 FROM dependent JOIN pg_depend ON refobjid = dependent.oid
    JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid
    WHERE refclassid = 'pg_class'::regclass AND ev_class <> dependent.oid
), views AS (
    SELECT oid, max(depth) AS depth FROM dependent GROUP BY oid
)
SELECT relkind = 'v', pg_class.oid::regclass::text, concat_ws('; ',
    format('CREATE VIEW %%s%%s AS %%s', pg_class.oid::regclass,
        ' WITH (' || array_to_string(reloptions, ', ') || ')', rtrim(pg_get_viewdef(pg_class.oid), ';')),
    format('ALTER VIEW %%s OWNER TO %%I', pg_class.oid::regclass, pg_get_userbyid(relowner)),
    (SELECT string_agg(format('GRANT %%s ON %%s TO %%s', privilege_type, pg_class.oid::regclass,
            CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END), '; ')
        FROM aclexplode(relacl) WHERE grantee <> relowner),
    (SELECT string_agg(format('COMMENT ON %%s IS %%L', CASE WHEN objsubid = 0 THEN 'VIEW ' || pg_class.oid::regclass
            ELSE format('COLUMN %%s.%%I', pg_class.oid::regclass, attname) END, description), '; ' ORDER BY objsubid)
        FROM pg_description LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid
        WHERE objoid = pg_class.oid AND classoid = 'pg_class'::regclass))
FROM views JOIN pg_class USING (oid) ORDER BY depth, pg_class.oid
"""


def take_down_views(cur: PgCursor, tables: Sequence[str]) -> list[str]:
    """Drop the views that read tables, and the views that read those; the statements that put them up again.

    `tables` are qualified names. To be called in the transaction that replaces them, as their owner. Raises
    MaterializedViewInTheWay.
    """
    cur.execute(_DEPENDENT, (list(tables),))
    views = cur.fetchall()
    for is_plain, name, _ in views:
        if not is_plain:
            raise MaterializedViewInTheWay(f"the materialized view {name} reads {', '.join(tables)}: drop it first")
    for _, name, _ in reversed(views):
        cur.execute(f"DROP VIEW {name}")  # a name that the server quoted
    return [definition for _, _, definition in views]


def put_up_views(cur: PgCursor, definitions: Sequence[str]) -> None:
    """Make views again, in the order in which they were taken down."""
    for definition in definitions:
        cur.execute(definition)
