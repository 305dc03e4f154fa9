-- A setting that anybody can set is no authority. Triggers stand aside for an import's own transaction only where the
-- session acts as the owner of the table, which nobody can say of himself: the right to let others make triggers is the
-- owner's unless he gives it away, and is looked up in a fraction of the time that asking for the owner's name takes. And
-- the tables themselves refuse a plain personal value, whoever writes it.

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

CREATE OR REPLACE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    probe RECORD;
BEGIN
    -- One door: a rotation of the key seals the old values again, and can touch nothing else.
    IF TG_OP = 'UPDATE' AND current_setting('daybreak.rotation_xid', true) = pg_current_xact_id()::text
       AND has_table_privilege(TG_RELID, 'TRIGGER WITH GRANT OPTION') THEN
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
    'Refuses UPDATE, DELETE and TRUNCATE of the audit trail, but for a key rotation''s own transaction (daybreak.rotation_xid holds its id, and the session acts as the owner) that replaces before_encrypted and nothing else.';

DO $$
DECLARE
    target TEXT;
    body TEXT;
    any_plain TEXT;
    plain TEXT;
    sealed TEXT;
    found BIGINT;
    searchable BOOLEAN;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(format(
                   E'    IF NEW.%1$I IS NOT NULL THEN\n'
                   '        NEW.%1$I_encrypted := privacy.seal(NEW.%1$I::text, key);\n'
                   '        NEW.%1$I := NULL;\n'
                   '    END IF;\n', p.attname), '' ORDER BY p.attnum),
               string_agg(format('NEW.%I IS NOT NULL', p.attname), ' OR ' ORDER BY p.attnum),
               string_agg(format('%I', p.attname), ', ' ORDER BY p.attnum),
               string_agg(format('%1$I_encrypted = CASE WHEN %1$I IS NULL THEN %1$I_encrypted '
                                 'ELSE privacy.seal(%1$I::text, privacy.required_key(''seal'')) END, %1$I = NULL', p.attname),
                          ', ' ORDER BY p.attnum)
        INTO body, any_plain, plain, sealed
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

        -- What is here already: sealed as the trigger would, without moving updated_at.
        EXECUTE format('SELECT count(*) FROM %I WHERE num_nonnulls(%s) > 0', target, plain) INTO found;
        IF found > 0 THEN
            PERFORM privacy.required_key('seal');
            PERFORM set_config('daybreak.import_xid', pg_current_xact_id()::text, true);
            EXECUTE format('UPDATE %I SET %s WHERE num_nonnulls(%s) > 0', target, sealed, plain);
            PERFORM privacy.rebuild_name_tokens();
            PERFORM set_config('daybreak.import_xid', '', true);
            RAISE NOTICE '% rows of % had plain personal values; they are sealed now', found, target;
        END IF;
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT personal_columns_are_sealed CHECK (num_nonnulls(%s) = 0)', target, plain);
        EXECUTE format('COMMENT ON CONSTRAINT personal_columns_are_sealed ON %I IS %L', target,
                       'No personal value is ever stored in plain, whoever writes it: triggers seal what clients write.');

        EXECUTE format(
            E'CREATE OR REPLACE FUNCTION privacy.seal_%1$s() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $body$\n'
            'DECLARE\n    key BYTEA;\n    names BYTEA;\nBEGIN\n'
            '    -- The importer writes ciphertext itself. What it writes in plain the table refuses.\n'
            '    IF current_setting(''daybreak.import_xid'', true) = pg_current_xact_id()::text\n'
            '       AND has_table_privilege(TG_RELID, ''TRIGGER WITH GRANT OPTION'') THEN\n'
            '        RETURN NEW;\n    END IF;\n'
            '    key := privacy.required_key(''seal'');\n%2$s    RETURN NEW;\nEND $body$',
            target, body);
        EXECUTE format('CREATE TRIGGER seal_personal_data_on_insert BEFORE INSERT ON %I FOR EACH ROW WHEN (%s) '
                       'EXECUTE FUNCTION privacy.seal_%s()', target,
                       any_plain || CASE WHEN searchable THEN ' OR NEW.email IS NOT NULL' ELSE '' END, target);
        EXECUTE format('CREATE TRIGGER seal_personal_data_on_update BEFORE UPDATE ON %I FOR EACH ROW WHEN (%s) '
                       'EXECUTE FUNCTION privacy.seal_%s()', target,
                       any_plain || CASE WHEN searchable THEN ' OR NEW.email IS DISTINCT FROM OLD.email' ELSE '' END, target);
    END LOOP;
END $$;
