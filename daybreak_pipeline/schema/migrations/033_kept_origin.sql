-- An application's UPDATE changes neither where a row comes from nor the search tokens of names that stay as they are:
-- these columns are not in the audit trail.

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
