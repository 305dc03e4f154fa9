-- What the schema-drift checks compare with: the columns of the file that a table was imported from, and the
-- structure that the migrations made, so that a change by hand can be told from one by a migration.

ALTER TABLE ingest.imports
    ADD COLUMN source_columns TEXT[],
    ADD COLUMN unknown_values JSONB;
COMMENT ON COLUMN ingest.imports.source_columns IS
    'Names in the header of the source, in its order; NULL where no file was read.';
COMMENT ON COLUMN ingest.imports.unknown_values IS
    'How many values each column had that the schema does not know: JSON object {column: number}.';

CREATE TABLE migrations.objects (
    table_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (table_name, kind, name)
);
COMMENT ON TABLE migrations.objects IS
    'Structure of the plan''s tables as the last migration left it, written anew by each migration.';
COMMENT ON COLUMN migrations.objects.kind IS 'table, column, constraint, index, trigger or policy.';
COMMENT ON COLUMN migrations.objects.definition IS 'What the server says that the object is.';

CREATE FUNCTION migrations.current_objects()
    RETURNS TABLE (table_name TEXT, kind TEXT, name TEXT, definition TEXT)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    -- With this search path the server spells out every schema, whoever asks.
    WITH tables AS (
        SELECT c.oid, c.relname::text AS table_name, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    )
    SELECT t.table_name, 'table', t.table_name,
           format('row security %s, forced %s', t.relrowsecurity, t.relforcerowsecurity)
    FROM tables t
    UNION ALL
    SELECT t.table_name, 'column', a.attname::text,
           format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
               || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
    FROM tables t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    -- NOT NULL stands with its column: PostgreSQL 18 lists it among the constraints as well.
    SELECT t.table_name, 'constraint', c.conname::text, pg_get_constraintdef(c.oid)
    FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype IN ('c', 'f', 'p', 'u', 'x')
    UNION ALL
    SELECT t.table_name, 'index', i.relname::text,
           pg_get_indexdef(x.indexrelid) || CASE WHEN x.indisvalid THEN '' ELSE ' INVALID' END
    FROM tables t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT t.table_name, 'trigger', g.tgname::text,
           pg_get_triggerdef(g.oid) || CASE g.tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ' DISABLED' ELSE ' REPLICA' END
    FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT t.table_name, 'policy', p.polname::text,
           format('%s %s USING (%s) CHECK (%s)', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
                  p.polcmd, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    FROM tables t JOIN pg_policy p ON p.polrelid = t.oid
    WHERE p.polname <> 'hide_soft_deleted' -- it names roles, so it comes with them (privacy/roles.sql) and not with a migration
$$;
COMMENT ON FUNCTION migrations.current_objects() IS
    'Structure of the plan''s tables as it is now: one row for each column, constraint, index, trigger and policy.';

CREATE FUNCTION migrations.record_objects() RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM migrations.objects;
    INSERT INTO migrations.objects SELECT * FROM migrations.current_objects();
$$;
COMMENT ON FUNCTION migrations.record_objects() IS
    'Notes the present structure as the one that the migrations made; the runner calls it after each of them.';
