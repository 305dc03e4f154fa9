-- Takes back 032_tags. Values that are there keep their tags, which privacy.unseal therefore goes on to take off.

DROP TABLE privacy.binding_steps;

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
DELETE FROM privacy.sealed_faults WHERE code = 'of_another_column';
ALTER TABLE privacy.sealed_faults DROP CONSTRAINT sealed_faults_code;
ALTER TABLE privacy.sealed_faults ADD CONSTRAINT sealed_faults_code CHECK (code IN ('does_not_open', 'does_not_fit'));
COMMENT ON TABLE privacy.sealed_faults IS
    'Sealed values that show as NULL because they do not open or do not fit, as the check sealed_values last found them.';

CREATE FUNCTION audit.differences(before JSONB, after JSONB, seal_key BYTEA)
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
COMMENT ON FUNCTION audit.differences(JSONB, JSONB, BYTEA) IS
    'What an UPDATE changed of a row, given as JSON, and the values before; with no row after, all of a deleted row. Sealed values are opened, so that the one seal around all is the only one that a key rotation has to renew.';

CREATE OR REPLACE FUNCTION audit.record_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET bytea_output = 'hex' SET jit = off AS $$
DECLARE
    seal_key BYTEA;
    lost BIGINT;
BEGIN
    IF audit.stands_aside() THEN
        RETURN NULL;
    END IF;
    seal_key := privacy.key('seal'); -- refuses a session with another key, whatever it changes
    IF TG_OP = 'INSERT' THEN
        INSERT INTO audit.changes (table_name, action, row_id)
        SELECT TG_TABLE_NAME, 'INSERT', n.id::text FROM new_rows n;
        RETURN NULL;
    ELSIF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('SELECT count(*) FROM %s', TG_RELID::regclass) INTO lost;
        INSERT INTO audit.changes (table_name, action, rows_deleted) VALUES (TG_TABLE_NAME, 'TRUNCATE', lost);
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO audit.changes (table_name, action, row_id, before_encrypted)
        SELECT TG_TABLE_NAME, 'DELETE', o.row_id, privacy.seal(d.old_values::text, seal_key)
        FROM (SELECT r.id::text AS row_id, to_jsonb(r) AS before FROM old_rows r OFFSET 0) o,
        LATERAL audit.differences(o.before, NULL, seal_key) d;
    ELSE
        -- OFFSET 0 keeps each row's JSON from being made again for each of its columns.
        INSERT INTO audit.changes (table_name, action, row_id, changed_columns, before_encrypted)
        SELECT TG_TABLE_NAME,
               CASE WHEN pair.before IS NULL THEN 'INSERT' WHEN pair.after IS NULL THEN 'DELETE' ELSE 'UPDATE' END,
               pair.row_id,
               CASE WHEN pair.after IS NOT NULL THEN d.changed_columns END,
               privacy.seal(d.old_values::text, seal_key)
        FROM (SELECT coalesce(n.id, o.id)::text AS row_id, to_jsonb(o) AS before, to_jsonb(n) AS after
              FROM old_rows o FULL JOIN new_rows n ON n.id = o.id OFFSET 0) pair,
        LATERAL audit.differences(pair.before, pair.after, seal_key) d
        WHERE pair.before IS NULL OR d.changed_columns IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
-- Who may call a function stays who might call it.
DO $$
DECLARE
    pair RECORD;
    grantee REGROLE;
BEGIN
    FOR pair IN
        SELECT old.oid::regprocedure AS function, new.proacl AS acl, new.proowner AS owner
        FROM (VALUES ('audit.differences(jsonb, jsonb, bytea)', 'audit.differences(text, jsonb, jsonb, bytea)'),
                     ('privacy.sealed_fault(bytea, text, integer, bytea)', 'privacy.sealed_fault(bytea, text, integer, bytea, text)'))
             AS named (old, new)
        JOIN pg_proc old ON old.oid = named.old::regprocedure JOIN pg_proc new ON new.oid = named.new::regprocedure
        WHERE new.proacl IS NOT NULL
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', pair.function);
        FOR grantee IN SELECT a.grantee::regrole FROM aclexplode(pair.acl) a WHERE a.grantee NOT IN (0, pair.owner) LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', pair.function, grantee);
        END LOOP;
    END LOOP;
END $$;
DROP FUNCTION audit.differences(TEXT, JSONB, JSONB, BYTEA);
DROP FUNCTION privacy.sealed_fault(BYTEA, TEXT, INTEGER, BYTEA, TEXT);

CREATE OR REPLACE FUNCTION audit.record_reads(
    reading TEXT, tables TEXT[], row_ids TEXT[], is_search BOOLEAN DEFAULT false, query TEXT DEFAULT NULL
) RETURNS BOOLEAN LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    person TEXT := left(nullif(current_setting('daybreak.person', true), ''), 200);
BEGIN
    -- A standby, or a session that says so, cannot write. Whoever asks gets the answer, and both ends are told.
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE LOG 'not in the audit trail, since the transaction is read-only: % by %', reading, session_user;
        RAISE WARNING 'this reading (%) is not in the audit trail, since the transaction is read-only', reading;
        RETURN false;
    END IF;
    IF is_search THEN
        INSERT INTO audit.changes (table_name, action, reading, launched_by, rows_read, before_encrypted)
        VALUES ('users', 'READ', reading, person, coalesce(cardinality(row_ids), 0),
                privacy.seal(jsonb_build_object('query', query)::text, privacy.key('seal')));
    END IF;
    INSERT INTO audit.changes (table_name, action, row_id, reading, launched_by)
    SELECT DISTINCT r.table_name, 'READ', r.row_id, record_reads.reading, person
    FROM unnest(tables, row_ids) AS r (table_name, row_id);
    RETURN true;
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
            'UPDATE public.%I t SET name_tokens = n.tokens FROM ('
            '    SELECT id, privacy.name_tokens(concat_ws('' '','
            '        privacy.unseal(first_name_encrypted, k.seal), privacy.unseal(preferred_name_encrypted, k.seal),'
            '        privacy.unseal(middle_name_encrypted, k.seal), privacy.unseal(last_name_encrypted, k.seal)), k.search) AS tokens'
            '    FROM public.%I, (SELECT privacy.required_key(''seal'') AS seal, privacy.required_key(''search'') AS search) k'
            '    WHERE num_nonnulls(first_name_encrypted, preferred_name_encrypted, middle_name_encrypted, last_name_encrypted) > 0'
            ') n WHERE n.id = t.id AND t.name_tokens IS DISTINCT FROM n.tokens', target, target);
        GET DIAGNOSTICS changed = ROW_COUNT;
        rebuilt := rebuilt + changed;
    END LOOP;
    PERFORM set_config('daybreak.import_xid', coalesce(outer_xid, ''), true);
    RETURN rebuilt;
END $$;

CREATE OR REPLACE FUNCTION privacy.index_names() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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

DO $$
DECLARE
    target TEXT;
    body TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(format(
                   E'    IF NEW.%1$I IS NOT NULL THEN\n'
                   '        NEW.%2$I := privacy.seal(NEW.%1$I::text, key);\n'
                   '        NEW.%1$I := NULL;\n'
                   '    END IF;\n', p.attname, e.attname), '' ORDER BY p.attnum)
        INTO body
        FROM pg_attribute p JOIN pg_attribute e
            ON e.attrelid = p.attrelid AND e.attname = p.attname || '_encrypted' AND NOT e.attisdropped
        WHERE p.attrelid = ('public.' || target)::regclass AND NOT p.attisdropped AND p.attname <> 'email';
        IF target <> 'insurance_coverages' THEN
            body := E'    NEW.email_encrypted := privacy.seal(NEW.email, key);\n' || body ||
                E'    names := privacy.key(''seal'');\n'
                '    NEW.name_tokens := privacy.name_tokens(concat_ws('' '''
                || (SELECT string_agg(format(', privacy.unseal(NEW.%1$I, names)', name), '' ORDER BY place)
                    FROM unnest(ARRAY['first_name_encrypted', 'preferred_name_encrypted', 'middle_name_encrypted',
                                      'last_name_encrypted']) WITH ORDINALITY AS named (name, place))
                || E'), privacy.required_key(''search''));\n';
        END IF;
        EXECUTE format(
            E'CREATE OR REPLACE FUNCTION privacy.seal_%1$s() RETURNS trigger LANGUAGE plpgsql '
            'SET search_path = public, pg_temp SET datestyle = ''ISO'' AS $body$\n'
            'DECLARE\n    key BYTEA;\n    names BYTEA;\nBEGIN\n'
            '    -- The importer writes ciphertext itself. What it writes in plain the table refuses.\n'
            '    IF current_setting(''daybreak.import_xid'', true) = pg_current_xact_id()::text\n'
            '       AND has_table_privilege(TG_RELID, ''TRIGGER WITH GRANT OPTION'') THEN\n'
            '        RETURN NEW;\n    END IF;\n'
            '    key := privacy.required_key(''seal'');\n%2$s    RETURN NEW;\nEND $body$',
            target, body);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION privacy.find_people(
    tokens BYTEA[], seen BYTEA[], pattern TEXT, words TEXT[], beginnings TEXT[], decided_by_name BOOLEAN, max_rows INTEGER
) RETURNS TABLE (
    id UUID, user_type INTEGER, email TEXT, first_name TEXT, preferred_name TEXT, middle_name TEXT, last_name TEXT
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on SET max_parallel_workers_per_gather = 0 AS $$ -- starting workers takes longer than a search
DECLARE
    branch CONSTANT TEXT := '
        (SELECT t.id, %s AS user_type, t.email::text AS email, t.first_name_encrypted, t.preferred_name_encrypted,
                t.middle_name_encrypted, t.last_name_encrypted
         FROM public.%I t WHERE %s AND (t.name_tokens @> $2) IS NOT TRUE AND t._fivetran_deleted IS NOT TRUE %s LIMIT $6)';
    condition CONSTANT TEXT := CASE WHEN pattern IS NULL THEN 't.name_tokens @> $1' ELSE 't.email ILIKE $3' END;
    by_name CONSTANT TEXT := CASE WHEN decided_by_name THEN
        'AND privacy.is_called(concat_ws('' '', privacy.unseal(t.first_name_encrypted, $8),
            privacy.unseal(t.preferred_name_encrypted, $8), privacy.unseal(t.middle_name_encrypted, $8),
            privacy.unseal(t.last_name_encrypted, $8)), $4, $5)' ELSE '' END;
    -- A name that twenty thousand people have must not cost reading and sorting twenty thousand rows.
    most_candidates CONSTANT INTEGER := CASE WHEN decided_by_name THEN max_rows ELSE 1000 END;
BEGIN
    -- Names always by the index: a LIMIT tempts the planner to read the table until it has seen enough, which is
    -- all of it when the namesakes stand at its end. A piece of everybody's email (@example.org) is better read so.
    PERFORM set_config('enable_seqscan', (pattern IS NOT NULL)::text, true);
    -- Dynamic, so that each search is planned for its own words. Rows are unsealed one by one behind the sort,
    -- until there are enough.
    RETURN QUERY EXECUTE format('
        SELECT f.id, f.user_type, f.email, n.first_name, n.preferred_name, n.middle_name, n.last_name
        FROM (SELECT * FROM (%s UNION ALL %s) candidate ORDER BY id, user_type) f
        CROSS JOIN LATERAL (
            SELECT privacy.unseal(f.first_name_encrypted, $8) AS first_name,
                   privacy.unseal(f.preferred_name_encrypted, $8) AS preferred_name,
                   privacy.unseal(f.middle_name_encrypted, $8) AS middle_name,
                   privacy.unseal(f.last_name_encrypted, $8) AS last_name
            OFFSET 0
        ) n
        WHERE $3 IS NOT NULL
           OR privacy.is_called(concat_ws('' '', n.first_name, n.preferred_name, n.middle_name, n.last_name), $4, $5)
        ORDER BY f.id, f.user_type LIMIT $7',
        format(branch, 1, 'patients_and_guardians', condition, by_name),
        format(branch, 2, 'clinicians', condition, by_name))
    USING tokens, seen, pattern, words, beginnings, most_candidates, max_rows, privacy.key('seal');
END $$;

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

CREATE OR REPLACE FUNCTION privacy.unseal(sealed BYTEA, key BYTEA) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $$
DECLARE
    plain TEXT;
BEGIN
    IF sealed IS NULL OR key IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        plain := public.pgp_sym_decrypt(sealed, encode(substr(key, 1, 32), 'hex'));
    EXCEPTION WHEN external_routine_invocation_exception OR external_routine_exception OR data_exception THEN
        IF length(key) < 64 THEN
            RETURN NULL; -- one corrupted value must not break a whole view
        END IF;
        BEGIN
            plain := public.pgp_sym_decrypt(sealed, encode(substr(key, 33), 'hex'));
        EXCEPTION WHEN external_routine_invocation_exception OR external_routine_exception OR data_exception THEN
            RETURN NULL;
        END;
    END;
    RETURN CASE WHEN substr(plain, 1, 1) = E'\x01' AND substr(plain, 8, 1) = E'\x02' THEN substr(plain, 9) ELSE plain END;
END $$;

-- Where nothing is sealed yet, it is as it was.
DO $$
DECLARE
    target RECORD;
    filled BOOLEAN := false;
BEGIN
    FOR target IN
        SELECT n.nspname, c.relname, string_agg(format('%I', a.attname), ', ') AS columns
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attname LIKE '%\_encrypted' AND a.attnum > 0 AND NOT a.attisdropped
          AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname IN ('public', 'ingest', 'audit')
        GROUP BY n.nspname, c.relname
    LOOP
        EXECUTE format('SELECT %L OR EXISTS (SELECT FROM %I.%I WHERE num_nonnulls(%s) > 0)',
                       filled, target.nspname, target.relname, target.columns) INTO filled;
    END LOOP;
    IF NOT filled THEN
        EXECUTE $old$
CREATE OR REPLACE FUNCTION privacy.unseal(sealed BYTEA, key BYTEA) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $body$
BEGIN
    IF sealed IS NULL OR key IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN public.pgp_sym_decrypt(sealed, encode(substr(key, 1, 32), 'hex'));
EXCEPTION WHEN external_routine_invocation_exception OR external_routine_exception OR data_exception THEN
    IF length(key) = 64 THEN
        BEGIN -- in place, not by calling itself: a reader of the views need not be allowed into this schema
            RETURN public.pgp_sym_decrypt(sealed, encode(substr(key, 33), 'hex'));
        EXCEPTION WHEN external_routine_invocation_exception OR external_routine_exception OR data_exception THEN
            RETURN NULL;
        END;
    END IF;
    RETURN NULL; -- one corrupted value must not break a whole view
END $body$
        $old$;
    END IF;
END $$;
COMMENT ON FUNCTION privacy.unseal(BYTEA, BYTEA) IS
    'Decrypt one value with the first of one or two keys (32 bytes each) that fits; NULL without a key, and NULL where the '
    'ciphertext is damaged or of another key.';
COMMENT ON FUNCTION privacy.seal(TEXT, BYTEA) IS
    'Encrypt one value with AES-256 under the first of one or two keys (32 bytes each); NULL stays NULL.';
DROP FUNCTION privacy.unseal(BYTEA, BYTEA, TEXT);
DROP FUNCTION privacy.unseal_tagged(BYTEA, BYTEA);
DROP FUNCTION privacy.seal(TEXT, BYTEA, TEXT);
DROP FUNCTION privacy.untag(TEXT, TEXT);
DROP FUNCTION privacy.tagged(TEXT, TEXT);
DROP FUNCTION privacy.tag(TEXT, TEXT);
