-- Takes back 033_kept_origin.

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
    NEW.updated_at = now();
    NEW._edited_at = clock_timestamp(); -- a long transaction edits later than it began
    RETURN NEW;
END;
$$;
COMMENT ON FUNCTION update_updated_at_column() IS
    'Sets updated_at and _edited_at to the time of the transaction, except in an import''s own transaction '
    '(daybreak.import_xid holds its id, and the session acts as the table''s owner), where the source''s timestamp stays.';
