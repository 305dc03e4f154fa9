-- Takes back 019_source_clock: what a source said and what was filled in is one again, and tombstones are forgotten.

DROP FUNCTION ingest.updated_profile(JSONB, JSONB, TEXT[], BOOLEAN);
DROP TABLE ingest.missing_rows;
DROP TABLE ingest.tombstones;

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
                  AND e.key NOT IN ('name_tokens', '_source_hash', '_import_id', '_record_number')
                OFFSET 0 -- or each value would be opened again wherever it is named
            ) d
        ) opened
        -- The same value sealed again is no change, and one that its plain column tells as well is told once.
        WHERE opened.old_value IS DISTINCT FROM opened.new_value
          AND (opened.plain IS NULL OR opened.old_value IS DISTINCT FROM before -> opened.plain
               OR opened.new_value IS DISTINCT FROM after -> opened.plain)
    ) named
$$;

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
    RETURN NEW;
END;
$$;
COMMENT ON FUNCTION update_updated_at_column() IS
    'Sets updated_at to the time of the transaction, except in an import''s own transaction '
    '(daybreak.import_xid holds its id), where the source''s timestamp stays.';

DO $$
DECLARE
    target REGCLASS;
BEGIN
    FOR target IN
        SELECT a.attrelid::regclass
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attname = '_source_updated_at' AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE %s DROP COLUMN _source_updated_at, DROP COLUMN _edited_at', target);
    END LOOP;
END $$;
