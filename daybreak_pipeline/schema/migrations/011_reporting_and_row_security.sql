-- Row-level security on the plan's tables and the views that analysts read (the plan, 4.1 and 4.3; ADR 0005).
-- Here stands what needs no role. Roles, grants and what names a role are in privacy/roles.sql, since roles
-- belong to the server and not to a database.

-- Everybody who may touch a table at all keeps seeing all of its rows. roles.sql adds a restrictive policy that
-- hides soft-deleted rows from the readers.
DO $$
DECLARE
    target REGCLASS;
BEGIN
    FOR target IN
        SELECT a.attrelid::regclass
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attname = '_source_hash' AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
        EXECUTE format('CREATE POLICY all_rows ON %s USING (true) WITH CHECK (true)', target);
        EXECUTE format('COMMENT ON POLICY all_rows ON %s IS %L', target,
                       'Who has the privilege reads and writes every row, unless a restrictive policy hides it.');
    END LOOP;
END $$;

CREATE SCHEMA reporting;
COMMENT ON SCHEMA reporting IS
    'What analysts read: one view for each of the plan''s tables, without personal columns and soft-deleted rows.';

CREATE FUNCTION reporting.columns()
RETURNS TABLE (target REGCLASS, column_name NAME, expression TEXT, place SMALLINT)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid::regclass, a.attname,
           -- What an export has and the schema does not has been looked at by nobody yet.
           CASE WHEN a.attname = 'profile_data' THEN
               'CASE WHEN jsonb_typeof(profile_data) = ''object'' THEN profile_data - ''export_columns'' '
               'ELSE profile_data END'
           ELSE quote_ident(a.attname) END,
           a.attnum
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relrowsecurity
      AND a.attnum > 0 AND NOT a.attisdropped
      -- Ciphertext, keyed hashes and blind indexes are bytes; nothing else in these tables is.
      AND a.atttypid NOT IN ('bytea'::regtype, 'bytea[]'::regtype)
      -- The importer's own columns.
      AND (a.attname NOT LIKE '\_%' OR a.attname LIKE '\_fivetran\_%')
      -- Personal: what any table has an encrypted twin of.
      AND NOT EXISTS (
          SELECT FROM pg_attribute twin JOIN pg_class owner ON owner.oid = twin.attrelid
          WHERE owner.relnamespace = c.relnamespace AND owner.relkind IN ('r', 'p') AND NOT twin.attisdropped
            AND twin.attname = a.attname || '_encrypted')
      -- Not sealed, but they name a person, or hold text of which nobody can say that it does not.
      AND a.attname <> ALL (ARRAY['member_id', 'front_card_url', 'back_card_url', 'concerns',
                                  'supabase_metadata', 'migration_details', 'migration_profile_data'])
$$;
COMMENT ON FUNCTION reporting.columns() IS
    'The columns that the reporting views show, and how. The one place that decides it; read from the catalog, so that a new column is in the next refresh.';

CREATE FUNCTION reporting.live_rows(target REGCLASS) RETURNS TEXT
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(mark.condition, ' AND ' ORDER BY mark.column_name)
    FROM (VALUES ('_fivetran_deleted', '_fivetran_deleted IS NOT TRUE'),
                 ('deleted_at', 'deleted_at IS NULL')) AS mark (column_name, condition)
    JOIN pg_attribute a ON a.attname = mark.column_name AND a.attrelid = target AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION reporting.live_rows(REGCLASS) IS
    'The condition that a table''s rows meet which are not soft-deleted; NULL where the table has no such mark.';

-- SECURITY DEFINER: roles.sql gives it to the views' own owner, a role that can read nothing but these columns.
CREATE FUNCTION reporting.refresh() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    view RECORD;
BEGIN
    FOR view IN
        SELECT c.relname AS name,
               format('SELECT %s FROM %I.%I%s',
                      string_agg(shown.expression || ' AS ' || quote_ident(shown.column_name), ', ' ORDER BY shown.place),
                      n.nspname, c.relname, ' WHERE ' || reporting.live_rows(c.oid)) AS query
        FROM reporting.columns() AS shown
        JOIN pg_class c ON c.oid = shown.target JOIN pg_namespace n ON n.oid = c.relnamespace
        -- A column that its owner may not read yet would break the whole view.
        WHERE has_column_privilege(c.oid, shown.place, 'SELECT')
        GROUP BY n.nspname, c.relname, c.oid ORDER BY c.relname
    LOOP
        BEGIN
            EXECUTE format('CREATE OR REPLACE VIEW reporting.%I AS %s', view.name, view.query);
        EXCEPTION WHEN invalid_table_definition THEN -- a column went, or has another type
            EXECUTE format('DROP VIEW reporting.%I', view.name);
            EXECUTE format('CREATE VIEW reporting.%I AS %s', view.name, view.query);
        END;
        EXECUTE format('COMMENT ON VIEW reporting.%I IS %L', view.name,
                       format('%s without personal columns and soft-deleted rows.', view.name));
    END LOOP;
END $$;
COMMENT ON FUNCTION reporting.refresh() IS 'Makes the reporting views as the tables are now. Runs after every migration.';

CREATE FUNCTION reporting.clear() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    view REGCLASS;
BEGIN
    FOR view IN SELECT oid::regclass FROM pg_class
        WHERE relnamespace = 'reporting'::regnamespace AND relkind = 'v' ORDER BY relname
    LOOP
        EXECUTE format('DROP VIEW %s', view);
    END LOOP;
END $$;
COMMENT ON FUNCTION reporting.clear() IS
    'Drops the reporting views, which stand in the way of dropping a column. Runs before migrations are taken back.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA reporting FROM PUBLIC;

SELECT reporting.refresh();

CREATE TABLE privacy.roles_applied (
    only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    fingerprint TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE privacy.roles_applied IS
    'Which grants this database has, so that an import need not look at each of them.';
COMMENT ON COLUMN privacy.roles_applied.fingerprint IS 'Newest migration and hash of roles.sql when they were granted.';
