-- Takes back protected_tables. What protects the plan's tables stays as it is; their index of names is followed by one
-- function again, that knows the plan's columns.

DO $$
DECLARE
    listed TEXT := pg_get_functiondef('reporting.columns()'::regprocedure);
BEGIN
    EXECUTE replace(listed,
                    E'AND twin.attname = a.attname || ''_encrypted''\n'
                    '            AND (owner.oid = c.oid OR EXISTS (SELECT FROM pg_attribute hash WHERE hash.attrelid = owner.oid\n'
                    '                                              AND hash.attname = ''_source_hash'')))',
                    E'AND twin.attname = a.attname || ''_encrypted'')');
END $$;

CREATE FUNCTION privacy.index_names() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key BYTEA;
BEGIN
    IF num_nonnulls(NEW.first_name_encrypted, NEW.preferred_name_encrypted, NEW.middle_name_encrypted,
                    NEW.last_name_encrypted) = 0 THEN
        NEW.name_tokens := NULL; -- takes no key
        RETURN NEW;
    END IF;
    key := privacy.required_key('seal');
    NEW.name_tokens := privacy.name_tokens(
        concat_ws(' ',
                  privacy.unseal(NEW.first_name_encrypted, key, privacy.tag('public.' || TG_TABLE_NAME, 'first_name_encrypted')),
                  privacy.unseal(NEW.preferred_name_encrypted, key, privacy.tag('public.' || TG_TABLE_NAME, 'preferred_name_encrypted')),
                  privacy.unseal(NEW.middle_name_encrypted, key, privacy.tag('public.' || TG_TABLE_NAME, 'middle_name_encrypted')),
                  privacy.unseal(NEW.last_name_encrypted, key, privacy.tag('public.' || TG_TABLE_NAME, 'last_name_encrypted'))),
        privacy.required_key('search'));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION privacy.index_names() IS
    'Makes the blind index of a row whose sealed names somebody has written or cleared; needs the key unless none is left.';

DO $$
DECLARE
    target TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians'] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER index_names_on_update BEFORE UPDATE ON %I FOR EACH ROW WHEN (('
                       'NEW.first_name_encrypted IS DISTINCT FROM OLD.first_name_encrypted OR '
                       'NEW.preferred_name_encrypted IS DISTINCT FROM OLD.preferred_name_encrypted OR '
                       'NEW.middle_name_encrypted IS DISTINCT FROM OLD.middle_name_encrypted OR '
                       'NEW.last_name_encrypted IS DISTINCT FROM OLD.last_name_encrypted) AND '
                       'current_setting(''daybreak.import_xid'', true) IS DISTINCT FROM pg_current_xact_id()::text) '
                       'EXECUTE FUNCTION privacy.index_names()', target);
        EXECUTE format('DROP FUNCTION privacy.%I()', 'index_names_of_' || target);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION privacy.rebuild_name_tokens() RETURNS BIGINT LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    target TEXT;
    rebuilt BIGINT := 0;
    changed BIGINT;
    outer_xid TEXT := current_setting('daybreak.import_xid', true);
BEGIN
    IF EXISTS (SELECT FROM privacy.key_check WHERE check_value <> privacy.required_key('check')) THEN
        RAISE EXCEPTION 'the names are sealed with another key than this session''s'
            USING ERRCODE = 'invalid_authorization_specification', HINT = 'Set ENCRYPTION_KEY to the key of this database.';
    END IF;
    -- Nobody's record changes here, so updated_at stays: see update_updated_at_column().
    PERFORM set_config('daybreak.import_xid', pg_current_xact_id()::text, true);
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians'] LOOP
        EXECUTE format(
            'UPDATE public.%1$I t SET name_tokens = n.tokens FROM ('
            '    SELECT id, privacy.name_tokens(concat_ws('' '','
            '        privacy.unseal(first_name_encrypted, k.seal, privacy.tag(%2$L, ''first_name_encrypted'')), '
            '        privacy.unseal(preferred_name_encrypted, k.seal, privacy.tag(%2$L, ''preferred_name_encrypted'')), '
            '        privacy.unseal(middle_name_encrypted, k.seal, privacy.tag(%2$L, ''middle_name_encrypted'')), '
            '        privacy.unseal(last_name_encrypted, k.seal, privacy.tag(%2$L, ''last_name_encrypted''))), k.search) AS tokens'
            '    FROM public.%1$I, (SELECT privacy.required_key(''seal'') AS seal, privacy.required_key(''search'') AS search) k'
            '    WHERE num_nonnulls(first_name_encrypted, preferred_name_encrypted, middle_name_encrypted, last_name_encrypted) > 0'
            ') n WHERE n.id = t.id AND t.name_tokens IS DISTINCT FROM n.tokens', target, 'public.' || target);
        GET DIAGNOSTICS changed = ROW_COUNT;
        rebuilt := rebuilt + changed;
    END LOOP;
    PERFORM set_config('daybreak.import_xid', coalesce(outer_xid, ''), true);
    RETURN rebuilt;
END $$;

DROP FUNCTION privacy.make_guards(TEXT);
DROP FUNCTION privacy.rows_called(TEXT, TEXT, INTEGER);
DROP FUNCTION privacy.make_name_index(TEXT);
DROP FUNCTION privacy.make_view(TEXT);
DROP FUNCTION privacy.make_sealing(TEXT);
DROP FUNCTION privacy.names_of(TEXT, TEXT, TEXT);
DROP FUNCTION privacy.object_name(TEXT, TEXT);
DROP TABLE privacy.protected_tables;
