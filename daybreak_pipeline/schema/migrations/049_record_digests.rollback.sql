-- Takes back 049_record_digests.

CREATE OR REPLACE FUNCTION audit.differences(relation TEXT, before JSONB, after JSONB, seal_key BYTEA)
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
            SELECT d.key, d.plain, t.old_text, t.new_text, d.old_tagged, d.new_tagged,
                   coalesce(t.old_text, d.value) AS old_value, coalesce(t.new_text, after -> d.key) AS new_value
            FROM (
                SELECT e.key, e.value, s.plain,
                       CASE WHEN s.plain IS NOT NULL THEN privacy.tagged(
                           privacy.unseal_tagged((e.value #>> '{}')::bytea, seal_key), privacy.tag(relation, e.key)) END AS old_tagged,
                       CASE WHEN s.plain IS NOT NULL THEN privacy.tagged(
                           privacy.unseal_tagged((after ->> e.key)::bytea, seal_key), privacy.tag(relation, e.key)) END AS new_tagged
                FROM jsonb_each(before) e,
                LATERAL (SELECT CASE WHEN e.key LIKE '%\_encrypted' THEN left(e.key, -10) END AS plain) s
                WHERE e.value IS DISTINCT FROM after -> e.key
                  AND e.key NOT IN ('name_tokens', '_source_hash', '_import_id', '_record_number',
                                    '_source_updated_at', '_edited_at')
                OFFSET 0 -- or each value would be opened again wherever it is named
            ) d, LATERAL (SELECT to_jsonb(privacy.untag(d.old_tagged, NULL)) AS old_text,
                                 to_jsonb(privacy.untag(d.new_tagged, NULL)) AS new_text) t
        ) opened
        -- The same value sealed again is no change, and one that its plain column tells as well is told once. The same
        -- text out of another column is one: it shows as NULL.
        WHERE (opened.old_value IS DISTINCT FROM opened.new_value OR opened.old_tagged IS DISTINCT FROM opened.new_tagged)
          AND (opened.plain IS NULL OR opened.old_value IS DISTINCT FROM before -> opened.plain
               OR opened.new_value IS DISTINCT FROM after -> opened.plain)
    ) named
$$;

CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The setting holds the transaction's id, not a mere "on", so that one left behind in a pooled session switches
    -- nothing off for whoever comes next.
    IF current_setting('daybreak.import_xid', true) = pg_current_xact_id()::text
       AND has_table_privilege(TG_RELID, 'TRIGGER WITH GRANT OPTION') THEN
        RETURN NEW;
    END IF;
    IF NOT has_table_privilege(TG_RELID, 'TRIGGER WITH GRANT OPTION') THEN
        -- Where a row comes from is for imports to say. The trail leaves these columns out, so no client may change them.
        NEW._source_hash := OLD._source_hash;
        NEW._import_id := OLD._import_id;
        NEW._record_number := OLD._record_number;
        NEW._source_updated_at := OLD._source_updated_at;
        -- And what a person can be found by follows from the names, which other triggers have indexed by now.
        IF TG_TABLE_NAME IN ('patients_and_guardians', 'clinicians') THEN
            IF (NEW.first_name_encrypted, NEW.preferred_name_encrypted, NEW.middle_name_encrypted, NEW.last_name_encrypted)
               IS NOT DISTINCT FROM
               (OLD.first_name_encrypted, OLD.preferred_name_encrypted, OLD.middle_name_encrypted, OLD.last_name_encrypted) THEN
                NEW.name_tokens := OLD.name_tokens;
            END IF;
        END IF;
    END IF;
    NEW.updated_at = now();
    NEW._edited_at = clock_timestamp(); -- a long transaction edits later than it began
    RETURN NEW;
END;
$$;
COMMENT ON FUNCTION update_updated_at_column() IS
    'Sets updated_at and _edited_at to the time of the transaction, except in an import''s own transaction '
    '(daybreak.import_xid holds its id, and the session acts as the table''s owner), where the source''s timestamp stays. '
    'Keeps what imports know of a row, and the search tokens of names that stay, but for the owner.';

DO $$
DECLARE
    target REGCLASS;
BEGIN
    FOR target IN
        SELECT a.attrelid::regclass
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attname = '_record_digest' AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TRIGGER own_digest ON %s', target);
        EXECUTE format('ALTER TABLE %s DROP COLUMN _record_digest', target);
    END LOOP;
END $$;

DROP FUNCTION ingest.own_digest();
