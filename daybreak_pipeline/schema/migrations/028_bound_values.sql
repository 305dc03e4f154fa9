-- One value that does not fit its column must not blind everybody: an application that copied the ciphertext of a name
-- into that of a birthdate made every read of these views fail, with the name in the error. Such a value shows as NULL,
-- and is noted for the check sealed_values.

CREATE FUNCTION privacy.as_date(value TEXT) RETURNS DATE LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE AS $$
BEGIN
    -- What a date looks like in any DateStyle. PostgreSQL would also read words: nobody called Today is born today.
    IF value ~ '^(\d[\d./-]*( BC)?|-?infinity)$' THEN
        RETURN value::date;
    END IF;
    RETURN NULL;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION privacy.as_date(TEXT) IS 'An unsealed text as a date; NULL where it is none.';

CREATE FUNCTION privacy.as_jsonb(value TEXT) RETURNS JSONB LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE AS $$
BEGIN
    RETURN value::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION privacy.as_jsonb(TEXT) IS 'An unsealed text as JSON; NULL where it is none.';

CREATE FUNCTION privacy.as_object(value TEXT) RETURNS JSONB LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE AS $$
DECLARE
    found JSONB;
BEGIN
    found := value; -- here, where an error is caught
    RETURN CASE WHEN jsonb_typeof(found) = 'object' THEN found END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION privacy.as_object(TEXT) IS 'An unsealed text as a JSON object; NULL where it is none.';

CREATE FUNCTION privacy.sealed_fault(sealed BYTEA, kind TEXT, longest INTEGER, key BYTEA) RETURNS TEXT
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    value TEXT := privacy.unseal(sealed, key);
BEGIN
    IF sealed IS NULL THEN
        RETURN NULL;
    ELSIF value IS NULL THEN
        RETURN 'does_not_open';
    ELSIF char_length(value) > longest
       OR kind = 'date' AND privacy.as_date(value) IS NULL
       OR kind = 'jsonb' AND privacy.as_jsonb(value) IS NULL
       OR kind = 'object' AND privacy.as_object(value) IS NULL THEN
        RETURN 'does_not_fit';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION privacy.sealed_fault(BYTEA, TEXT, INTEGER, BYTEA) IS
    'What is wrong with a sealed value of a column of this type and length: does_not_open, does_not_fit, or NULL for nothing.';

CREATE TABLE privacy.sealed_faults (
    table_name TEXT NOT NULL,
    row_id TEXT NOT NULL,
    column_name TEXT NOT NULL,
    code TEXT NOT NULL,
    found_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, row_id, column_name),
    CONSTRAINT sealed_faults_code CHECK (code IN ('does_not_open', 'does_not_fit'))
);
COMMENT ON TABLE privacy.sealed_faults IS
    'Sealed values that show as NULL because they do not open or do not fit, as the check sealed_values last found them.';
COMMENT ON COLUMN privacy.sealed_faults.column_name IS 'The column by its plain name.';

CREATE TABLE privacy.sealed_looks (
    table_name TEXT PRIMARY KEY,
    looked_up_to TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE privacy.sealed_looks IS 'How far the check sealed_values has followed the audit trail, for each table.';
COMMENT ON COLUMN privacy.sealed_looks.looked_up_to IS 'Rows that clients changed until then were looked at.';

CREATE OR REPLACE VIEW users AS
WITH held AS MATERIALIZED (SELECT privacy.key('seal') AS key)
SELECT
    p.id, p.role, p.email,
    privacy.unseal(p.phone_encrypted, held.key)::varchar(50) AS phone,
    privacy.unseal(p.first_name_encrypted, held.key)::varchar(255) AS first_name,
    privacy.unseal(p.preferred_name_encrypted, held.key)::varchar(255) AS preferred_name,
    privacy.unseal(p.middle_name_encrypted, held.key)::varchar(255) AS middle_name,
    privacy.unseal(p.last_name_encrypted, held.key)::varchar(255) AS last_name,
    p.title, p.preferred_language, p.preferred_pronoun, p.self_gender, p.legal_gender,
    privacy.as_date(privacy.unseal(p.birthdate_encrypted, held.key)) AS birthdate,
    p.profile_data, p.supervisor_id, p.clinical_associate, p.licenses,
    p.licensed_states, p.care_provider_status, p.system_labels, p.supabase_id,
    p.supabase_metadata, privacy.as_jsonb(privacy.unseal(p.address_encrypted, held.key)) AS address,
    p.healthie_id, p.openpm_reference_id,
    p.account_status, p.openpm_policyholder_id, p.zendesk_id, p.latest_ticket,
    p.created_at, p.updated_at, p._fivetran_deleted, p._fivetran_synced,
    1 AS user_type
FROM patients_and_guardians p, held
UNION ALL
SELECT
    c.id, 2 AS role, c.email,
    privacy.unseal(c.phone_encrypted, held.key)::varchar(50),
    privacy.unseal(c.first_name_encrypted, held.key)::varchar(255),
    privacy.unseal(c.preferred_name_encrypted, held.key)::varchar(255),
    NULL::varchar(255) AS middle_name,
    privacy.unseal(c.last_name_encrypted, held.key)::varchar(255),
    c.title, c.preferred_language, c.preferred_pronoun, NULL::integer AS self_gender, c.legal_gender,
    privacy.as_date(privacy.unseal(c.birthdate_encrypted, held.key)),
    c.profile_data, c.supervisor_id, c.clinical_associate, c.licenses,
    c.licensed_states, c.care_provider_status, c.system_labels, NULL::uuid AS supabase_id,
    NULL::jsonb AS supabase_metadata, privacy.as_jsonb(privacy.unseal(c.address_encrypted, held.key)),
    c.healthie_id, NULL::varchar(50) AS openpm_reference_id,
    c.account_status, NULL::varchar(50) AS openpm_policyholder_id, NULL::varchar(50) AS zendesk_id,
    NULL::varchar(255) AS latest_ticket,
    c.created_at, c.updated_at, c._fivetran_deleted, c._fivetran_synced,
    2 AS user_type
FROM clinicians c, held;

-- app.<table>: as migration 008 has it.
DO $$
DECLARE
    target TEXT;
    columns TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(
                   CASE WHEN e.attname IS NULL OR p.attname = 'email' THEN format('t.%I', p.attname)
                        WHEN p.atttypid = 'date'::regtype
                        THEN format('privacy.as_date(privacy.unseal(t.%I, held.key)) AS %I', e.attname, p.attname)
                        WHEN p.atttypid = 'jsonb'::regtype
                        THEN format('privacy.as_jsonb(privacy.unseal(t.%I, held.key)) AS %I', e.attname, p.attname)
                        ELSE format('privacy.unseal(t.%I, held.key)::%s AS %I', e.attname,
                                    format_type(p.atttypid, p.atttypmod), p.attname) END,
                   ', ' ORDER BY p.attnum)
        INTO columns
        FROM pg_attribute p LEFT JOIN pg_attribute e
            ON e.attrelid = p.attrelid AND e.attname = p.attname || '_encrypted' AND NOT e.attisdropped
        WHERE p.attrelid = ('public.' || target)::regclass AND p.attnum > 0 AND NOT p.attisdropped
          AND p.attname NOT LIKE '%\_encrypted' AND p.attname NOT IN
              ('name_tokens', '_source_hash', '_import_id', '_record_number', '_source_updated_at', '_edited_at');
        EXECUTE format('CREATE OR REPLACE VIEW app.%I AS WITH held AS MATERIALIZED (SELECT privacy.key(''seal'') AS key) '
                       'SELECT %s FROM public.%I t, held', target, columns, target);
    END LOOP;
END $$;

-- The blind index follows the names, also where somebody writes or clears their ciphertext: who was erased must not be
-- found any more. An import's own transaction writes both. That anybody can say so of himself gives nobody anything:
-- who may write a name may write its tokens.
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
        concat_ws(' ', privacy.unseal(NEW.first_name_encrypted, key), privacy.unseal(NEW.preferred_name_encrypted, key),
                  privacy.unseal(NEW.middle_name_encrypted, key), privacy.unseal(NEW.last_name_encrypted, key)),
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
        -- By its name before the trigger that seals, which makes the index of names that came in plain.
        EXECUTE format('CREATE TRIGGER index_names_on_update BEFORE UPDATE ON %I FOR EACH ROW WHEN (('
                       'NEW.first_name_encrypted IS DISTINCT FROM OLD.first_name_encrypted OR '
                       'NEW.preferred_name_encrypted IS DISTINCT FROM OLD.preferred_name_encrypted OR '
                       'NEW.middle_name_encrypted IS DISTINCT FROM OLD.middle_name_encrypted OR '
                       'NEW.last_name_encrypted IS DISTINCT FROM OLD.last_name_encrypted) AND '
                       'current_setting(''daybreak.import_xid'', true) IS DISTINCT FROM pg_current_xact_id()::text) '
                       'EXECUTE FUNCTION privacy.index_names()', target);
        EXECUTE format('COMMENT ON TRIGGER index_names_on_update ON %I IS %L', target,
                       'Has the blind index follow the names where their ciphertext is written.');
    END LOOP;
END $$;

-- A birthdate that a client writes was sealed in the client's DateStyle, and read in another's as another day.
ALTER FUNCTION privacy.seal_patients_and_guardians() SET datestyle = 'ISO';
ALTER FUNCTION privacy.seal_clinicians() SET datestyle = 'ISO';
ALTER FUNCTION privacy.seal_insurance_coverages() SET datestyle = 'ISO';

-- UPDATE app.<table> SET first_name = NULL erases the name. In the table itself that would say nothing, since the plain
-- column is NULL always. What the statement did not change stays as others have made it meanwhile.
DO $$
DECLARE
    target TEXT;
    assignments TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(
                   CASE WHEN e.attname IS NULL OR v.attname = 'email'
                        THEN format('%1$I = CASE WHEN NEW.%1$I IS DISTINCT FROM OLD.%1$I THEN NEW.%1$I ELSE t.%1$I END', v.attname)
                        ELSE format('%1$I = CASE WHEN NEW.%1$I IS DISTINCT FROM OLD.%1$I THEN NEW.%1$I END, '
                                    '%2$I = CASE WHEN NEW.%1$I IS NULL AND OLD.%1$I IS NOT NULL THEN NULL ELSE t.%2$I END',
                                    v.attname, e.attname) END,
                   E',\n        ' ORDER BY v.attnum)
        INTO assignments
        FROM pg_attribute v LEFT JOIN pg_attribute e
            ON e.attrelid = ('public.' || target)::regclass AND e.attname = v.attname || '_encrypted' AND NOT e.attisdropped
        WHERE v.attrelid = ('app.' || target)::regclass AND v.attnum > 0 AND NOT v.attisdropped;
        EXECUTE format(E'CREATE FUNCTION app.update_%1$s() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$\n'
                       'BEGIN\n    UPDATE public.%1$I t SET\n        %2$s\n    WHERE t.id = OLD.id;\n'
                       '    RETURN CASE WHEN FOUND THEN NEW END;\nEND $body$', target, assignments);
        EXECUTE format('COMMENT ON FUNCTION app.update_%s() IS %L', target,
                       'Writes what an UPDATE of the view changes into the table; a personal value set to NULL is erased there.');
        EXECUTE format('CREATE TRIGGER write_to_table INSTEAD OF UPDATE ON app.%I FOR EACH ROW EXECUTE FUNCTION app.update_%s()',
                       target, target);
        EXECUTE format('COMMENT ON TRIGGER write_to_table ON app.%I IS %L', target, 'Makes the view one that can be updated.');
    END LOOP;
END $$;
