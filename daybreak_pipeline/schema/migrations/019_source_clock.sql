-- Our own clock, and the source's (ADR 10). Which of two records is newer must depend only on what sources said and on
-- what applications wrote, never on a time that an import filled in. What is gone at the source is remembered too.

-- The default makes '-infinity' of the rows that are here, without rewriting one: nobody noted what their source said.
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
        EXECUTE format('ALTER TABLE %s ADD COLUMN _source_updated_at TIMESTAMPTZ DEFAULT ''-infinity'', '
                       'ADD COLUMN _edited_at TIMESTAMPTZ', target);
        EXECUTE format('ALTER TABLE %s ALTER COLUMN _source_updated_at DROP DEFAULT', target);
        EXECUTE format('COMMENT ON COLUMN %s._source_updated_at IS %L', target,
                       'The source record''s updated_at; NULL where it had none that can be, -infinity where the row was '
                       'loaded before this was noted.');
        EXECUTE format('COMMENT ON COLUMN %s._edited_at IS %L', target,
                       'When an application last changed the row; NULL when an import has changed it since.');
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The importer names its own transaction here. The setting holds the transaction's id, not a mere "on",
    -- so that one left behind in a pooled session switches nothing off for whoever comes next.
    IF current_setting('daybreak.import_xid', true) = pg_current_xact_id()::text THEN
        RETURN NEW;
    END IF;
    NEW.updated_at = now();
    NEW._edited_at = clock_timestamp(); -- a long transaction edits later than it began
    RETURN NEW;
END;
$$;
COMMENT ON FUNCTION update_updated_at_column() IS
    'Sets updated_at and _edited_at to the time of the transaction, except in an import''s own transaction '
    '(daybreak.import_xid holds its id), where the source''s timestamp stays.';

-- The importer's own columns are no changes that anybody asks for.
CREATE OR REPLACE FUNCTION audit.differences(before JSONB, after JSONB, seal_key BYTEA)
RETURNS TABLE (changed_columns TEXT[], old_values JSONB) LANGUAGE sql STABLE AS $$
    SELECT array_agg(DISTINCT named.name) FILTER (WHERE named.name <> 'updated_at'),
           -- Of a sealed column and its plain one, which is NULL, the value counts.
           jsonb_object_agg(named.name, named.old_value ORDER BY named.old_value = 'null' DESC)
    FROM (
        SELECT CASE WHEN before -> opened.plain = 'null' AND coalesce(after -> opened.plain, 'null') = 'null'
                     AND (opened.old_text IS NOT NULL OR opened.old_value = 'null' AND opened.new_text IS NOT NULL)
                    THEN opened.plain ELSE opened.key END AS name,
               opened.old_value
        FROM (
            SELECT d.key, d.plain, d.old_text, d.new_text,
                   coalesce(d.old_text, d.value) AS old_value, coalesce(d.new_text, after -> d.key) AS new_value
            FROM (
                SELECT e.key, e.value, s.plain,
                       CASE WHEN s.plain IS NOT NULL THEN to_jsonb(privacy.unseal((e.value #>> '{}')::bytea, seal_key)) END AS old_text,
                       CASE WHEN s.plain IS NOT NULL THEN to_jsonb(privacy.unseal((after ->> e.key)::bytea, seal_key)) END AS new_text
                FROM jsonb_each(before) e,
                LATERAL (SELECT CASE WHEN e.key LIKE '%\_encrypted' THEN left(e.key, -10) END AS plain) s
                WHERE e.value IS DISTINCT FROM after -> e.key
                  AND e.key NOT IN ('name_tokens', '_source_hash', '_import_id', '_record_number',
                                    '_source_updated_at', '_edited_at')
                OFFSET 0 -- or each value would be opened again wherever it is named
            ) d
        ) opened
        -- The same value sealed again is no change, and one that its plain column tells as well is told once.
        WHERE opened.old_value IS DISTINCT FROM opened.new_value
          AND (opened.plain IS NULL OR opened.old_value IS DISTINCT FROM before -> opened.plain
               OR opened.new_value IS DISTINCT FROM after -> opened.plain)
    ) named
$$;

CREATE TABLE ingest.tombstones (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    source_updated_at TIMESTAMPTZ,
    tx_commit_time TIMESTAMPTZ,
    fivetran_synced TIMESTAMPTZ,
    import_id BIGINT NOT NULL
) PARTITION BY LIST (table_name);
COMMENT ON TABLE ingest.tombstones IS
    'Deletions at the source of rows that were never here: an older version that comes later must not come to life.';
COMMENT ON COLUMN ingest.tombstones.row_id IS 'The row''s id; one tombstone for each.';
COMMENT ON COLUMN ingest.tombstones.source_updated_at IS 'The deletion''s updated_at; NULL where it had none that can be.';
COMMENT ON COLUMN ingest.tombstones.tx_commit_time IS 'The deletion''s tx_commit_time.';
COMMENT ON COLUMN ingest.tombstones.fivetran_synced IS 'The deletion''s _fivetran_synced.';
COMMENT ON COLUMN ingest.tombstones.import_id IS 'ingest.imports.id of the import that met the deletion.';

-- A partition for each table, and no key: nearly all records of a file can be deletions, and an index of their ids would
-- take longer to write than all the rest. Imports of one table follow each other, and keep one row for each id.
DO $$
DECLARE
    target NAME;
BEGIN
    FOR target IN
        SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attname = '_fivetran_deleted' AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        ORDER BY c.relname
    LOOP
        EXECUTE format('CREATE TABLE ingest.%I PARTITION OF ingest.tombstones FOR VALUES IN (%L)',
                       'tombstones_of_' || target, target);
        EXECUTE format('COMMENT ON TABLE ingest.%I IS %L', 'tombstones_of_' || target, 'Tombstones of ' || target || '.');
    END LOOP;
END $$;
CREATE TABLE ingest.tombstones_of_others PARTITION OF ingest.tombstones DEFAULT;
COMMENT ON TABLE ingest.tombstones_of_others IS 'Tombstones of tables that came later.';

CREATE TABLE ingest.missing_rows (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    import_id BIGINT NOT NULL,
    since TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, row_id)
);
COMMENT ON TABLE ingest.missing_rows IS
    'Rows that came from an export and that the newest full file of their table no longer has.';
COMMENT ON COLUMN ingest.missing_rows.import_id IS 'ingest.imports.id of the first import whose file did not have the row.';
COMMENT ON COLUMN ingest.missing_rows.since IS 'When that import began.';

CREATE FUNCTION ingest.updated_profile(kept JSONB, loaded JSONB, names TEXT[], has_profile BOOLEAN) RETURNS JSONB
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    profile JSONB := CASE WHEN has_profile THEN loaded ELSE kept END;
    extra JSONB := '{}';
BEGIN
    IF jsonb_typeof(kept -> 'export_columns') = 'object' THEN
        extra := (kept -> 'export_columns') - names;
    END IF;
    IF jsonb_typeof(loaded -> 'export_columns') = 'object' THEN
        extra := extra || (loaded -> 'export_columns');
    END IF;
    IF jsonb_typeof(profile -> 'export_columns') = 'object' THEN
        profile := profile - 'export_columns';
    END IF;
    RETURN ingest.with_export_columns(profile, extra);
END $$;
COMMENT ON FUNCTION ingest.updated_profile(JSONB, JSONB, TEXT[], BOOLEAN) IS
    'The profile of a row that a record updates: what the file has (the unknown columns by these names, and the profile itself where it has one) is the record''s, all else stays.';
