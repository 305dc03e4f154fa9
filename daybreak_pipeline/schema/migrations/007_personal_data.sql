-- Personal data at rest (the plan, 4.2): every personal column has an encrypted twin, the plain column
-- stays in the schema and is always NULL. A trigger seals what clients write; the importer seals in its
-- own INSERT. Names stay searchable through a blind index (the plan, 3.3, whose to_tsvector index would
-- need the plain names).

CREATE SCHEMA privacy;
COMMENT ON SCHEMA privacy IS 'Sealing and unsealing of personal columns, and what makes them searchable.';

CREATE FUNCTION privacy.key(purpose TEXT) RETURNS BYTEA LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- HKDF (RFC 5869) with SHA-256 and one block: extract without salt, expand with the purpose.
    WITH given AS (SELECT nullif(current_setting('daybreak.encryption_key', true), '') AS key)
    SELECT public.hmac(
        convert_to('daybreak/' || purpose, 'UTF8') || '\x01'::bytea,
        public.hmac(
            CASE WHEN given.key ~ '^[0-9a-fA-F]{64}$' THEN decode(given.key, 'hex')
                 ELSE decode(given.key, 'base64') END,
            decode(repeat('00', 32), 'hex'), 'sha256'),
        'sha256')
    FROM given WHERE given.key IS NOT NULL
$$;
COMMENT ON FUNCTION privacy.key(TEXT) IS
    'The session''s sub-key for one purpose, derived from daybreak.encryption_key; NULL when the session has no key.';

CREATE FUNCTION privacy.required_key(purpose TEXT) RETURNS BYTEA LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    result BYTEA := privacy.key(purpose);
BEGIN
    IF result IS NULL THEN
        RAISE EXCEPTION 'this session has no encryption key, so personal data cannot be written'
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = 'SELECT set_config(''daybreak.encryption_key'', $1, true), with the key as a bound parameter.';
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION privacy.required_key(TEXT) IS 'As privacy.key, but refuses a session without a key.';

CREATE FUNCTION privacy.seal(value TEXT, key BYTEA) RETURNS BYTEA LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    -- The key is 32 random bytes, so the slow key stretching that protects passphrases buys nothing here.
    SELECT public.pgp_sym_encrypt(value, encode(key, 'hex'),
                                  'cipher-algo=aes256, s2k-mode=1, s2k-digest-algo=sha256, compress-algo=0')
$$;
COMMENT ON FUNCTION privacy.seal(TEXT, BYTEA) IS 'Encrypt one value with AES-256; NULL stays NULL.';

CREATE FUNCTION privacy.unseal(sealed BYTEA, key BYTEA) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF sealed IS NULL OR key IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN public.pgp_sym_decrypt(sealed, encode(key, 'hex'));
EXCEPTION WHEN external_routine_invocation_exception OR external_routine_exception OR data_exception THEN
    RETURN NULL; -- one corrupted value must not break a whole view
END $$;
COMMENT ON FUNCTION privacy.unseal(BYTEA, BYTEA) IS
    'Decrypt one value; NULL without a key, and NULL where the ciphertext is damaged or of another key.';

CREATE FUNCTION privacy.name_tokens(names TEXT, key BYTEA) RETURNS BYTEA[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(DISTINCT public.hmac(convert_to(word, 'UTF8'), key, 'sha256'))
    FROM regexp_split_to_table(
        translate(regexp_replace(lower(normalize(names, NFKD)), '[\u0300-\u036f]', '', 'g'), '''’ʼ`´', ''),
        '[-\s‐‑–—.,;:/()"_]+') AS word
    WHERE word <> ''
$$;
COMMENT ON FUNCTION privacy.name_tokens(TEXT, BYTEA) IS
    'Keyed hashes of the words of a name, without case and accents: equal words give equal hashes, nothing else can be read from them.';

CREATE TABLE privacy.key_check (
    only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_row),
    check_value BYTEA NOT NULL
);
COMMENT ON TABLE privacy.key_check IS
    'A value derived from the encryption key, so that a wrong key is refused before anything is written.';

ALTER TABLE patients_and_guardians
    ADD COLUMN email_encrypted BYTEA,
    ADD COLUMN phone_encrypted BYTEA,
    ADD COLUMN first_name_encrypted BYTEA,
    ADD COLUMN preferred_name_encrypted BYTEA,
    ADD COLUMN middle_name_encrypted BYTEA,
    ADD COLUMN last_name_encrypted BYTEA,
    ADD COLUMN birthdate_encrypted BYTEA,
    ADD COLUMN address_encrypted BYTEA,
    ADD COLUMN name_tokens BYTEA[],
    ADD COLUMN _export_columns_encrypted BYTEA;
ALTER TABLE clinicians
    ADD COLUMN email_encrypted BYTEA,
    ADD COLUMN phone_encrypted BYTEA,
    ADD COLUMN first_name_encrypted BYTEA,
    ADD COLUMN preferred_name_encrypted BYTEA,
    ADD COLUMN middle_name_encrypted BYTEA,
    ADD COLUMN last_name_encrypted BYTEA,
    ADD COLUMN birthdate_encrypted BYTEA,
    ADD COLUMN address_encrypted BYTEA,
    ADD COLUMN name_tokens BYTEA[],
    ADD COLUMN _export_columns_encrypted BYTEA;
ALTER TABLE insurance_coverages
    ADD COLUMN plan_holder_first_name_encrypted BYTEA,
    ADD COLUMN plan_holder_last_name_encrypted BYTEA,
    ADD COLUMN plan_holder_dob_encrypted BYTEA,
    ADD COLUMN plan_holder_state_encrypted BYTEA,
    ADD COLUMN plan_holder_city_encrypted BYTEA,
    ADD COLUMN plan_holder_street_address_encrypted BYTEA,
    ADD COLUMN plan_holder_zip_code_encrypted BYTEA,
    ADD COLUMN _export_columns_encrypted BYTEA;

CREATE INDEX idx_patients_guardians_name_search ON patients_and_guardians USING gin (name_tokens);
CREATE INDEX idx_clinicians_name_search ON clinicians USING gin (name_tokens);

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
        EXECUTE format(
            E'CREATE FUNCTION privacy.seal_%1$s() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $body$\n'
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
        EXECUTE (
            SELECT string_agg(format('COMMENT ON COLUMN %I.%I IS %L;', target, e.attname,
                       CASE e.attname
                           WHEN 'name_tokens' THEN 'Blind index of the names: keyed hashes of their words.'
                           WHEN '_export_columns_encrypted' THEN
                               'Personal columns of the export that the schema does not have, as sealed JSON.'
                           ELSE format('Sealed %s (pgcrypto, AES-256).', left(e.attname, -10)) END), ' ')
            FROM pg_attribute e
            WHERE e.attrelid = ('public.' || target)::regclass AND NOT e.attisdropped
              AND (e.attname LIKE '%\_encrypted' OR e.attname = 'name_tokens'));
    END LOOP;
END $$;
