-- Takes back 023_authority. What it sealed stays sealed.

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

CREATE OR REPLACE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    probe RECORD;
BEGIN
    -- One door: a rotation of the key seals the old values anew, and can touch nothing else. The setting holds the
    -- transaction's id, so that one left behind in a pooled session opens nothing.
    IF TG_OP = 'UPDATE' AND current_setting('daybreak.rotation_xid', true) = pg_current_xact_id()::text THEN
        probe := NEW;
        probe.before_encrypted := OLD.before_encrypted;
        IF probe IS NOT DISTINCT FROM OLD AND (NEW.before_encrypted IS NULL) = (OLD.before_encrypted IS NULL) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Old lines go by whole months, and on the record: SELECT audit.retain(months).';
END $$;
COMMENT ON FUNCTION audit.refuse_change() IS
    'Refuses UPDATE, DELETE and TRUNCATE of the audit trail, but for a key rotation''s own transaction (daybreak.rotation_xid holds its id) that replaces before_encrypted and nothing else.';

-- One trigger function for each table, written out from the encrypted twins that the table has.
DO $$
DECLARE
    target TEXT;
    body TEXT;
    searchable BOOLEAN;
    any_plain TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(format(
                   E'    IF NEW.%1$I IS NOT NULL THEN\n'
                   '        NEW.%1$I_encrypted := privacy.seal(NEW.%1$I::text, key);\n'
                   '        NEW.%1$I := NULL;\n'
                   '    END IF;\n', p.attname), '' ORDER BY p.attnum),
               string_agg(format('NEW.%I IS NOT NULL', p.attname), ' OR ' ORDER BY p.attnum)
        INTO body, any_plain
        FROM pg_attribute p JOIN pg_attribute e
            ON e.attrelid = p.attrelid AND e.attname = p.attname || '_encrypted' AND NOT e.attisdropped
        WHERE p.attrelid = ('public.' || target)::regclass AND NOT p.attisdropped AND p.attname <> 'email';
        searchable := target <> 'insurance_coverages';
        IF searchable THEN
            body := E'    NEW.email_encrypted := privacy.seal(NEW.email, key);\n' || body ||
                E'    names := privacy.key(''seal'');\n'
                '    NEW.name_tokens := privacy.name_tokens(concat_ws('' '','
                ' privacy.unseal(NEW.first_name_encrypted, names), privacy.unseal(NEW.preferred_name_encrypted, names),'
                ' privacy.unseal(NEW.middle_name_encrypted, names), privacy.unseal(NEW.last_name_encrypted, names)),'
                ' privacy.required_key(''search''));\n';
        END IF;
        EXECUTE format('DROP TRIGGER seal_personal_data_on_insert ON %I', target);
        EXECUTE format('DROP TRIGGER seal_personal_data_on_update ON %I', target);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT personal_columns_are_sealed', target);
        EXECUTE format(
            E'CREATE OR REPLACE FUNCTION privacy.seal_%1$s() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $body$\n'
            'DECLARE\n    key BYTEA := privacy.required_key(''seal'');\n    names BYTEA;\nBEGIN\n%2$s    RETURN NEW;\nEND $body$',
            target, body);
        EXECUTE format('COMMENT ON FUNCTION privacy.seal_%s() IS %L', target,
                       'Seals the personal values that a client writes, and refuses them when the session has no key.');
        -- The importer writes ciphertext itself; the condition keeps the trigger out of its way.
        EXECUTE format('CREATE TRIGGER seal_personal_data_on_insert BEFORE INSERT ON %I FOR EACH ROW WHEN '
                       '((%s) AND current_setting(''daybreak.import_xid'', true) IS DISTINCT FROM pg_current_xact_id()::text) '
                       'EXECUTE FUNCTION privacy.seal_%s()', target,
                       any_plain || CASE WHEN searchable THEN ' OR NEW.email IS NOT NULL' ELSE '' END, target);
        EXECUTE format('CREATE TRIGGER seal_personal_data_on_update BEFORE UPDATE ON %I FOR EACH ROW WHEN '
                       '((%s) AND current_setting(''daybreak.import_xid'', true) IS DISTINCT FROM pg_current_xact_id()::text) '
                       'EXECUTE FUNCTION privacy.seal_%s()', target,
                       any_plain || CASE WHEN searchable THEN ' OR NEW.email IS DISTINCT FROM OLD.email' ELSE '' END, target);
    END LOOP;
END $$;
